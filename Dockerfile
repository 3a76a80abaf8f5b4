FROM python:3.13-slim

RUN pip install --no-cache-dir uv
WORKDIR /app

# Dependencies change less often than code, so they have a layer of their own.
COPY pyproject.toml uv.lock ./
ENV UV_PYTHON_DOWNLOADS=never
RUN uv sync --frozen --no-dev

COPY . .
ENV PATH="/app/.venv/bin:$PATH" PYTHONUNBUFFERED=1
RUN useradd --system --no-create-home db
USER db

CMD ["python", "main.py", "serve"]
