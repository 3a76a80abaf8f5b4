FROM python:3.13-slim AS build

RUN pip install --no-cache-dir --root-user-action=ignore "uv>=0.13,<1"
WORKDIR /app
# Without bytecode each start compiles every library anew: the file system of a container is read-only, or forgotten.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never

# Drivers of other databases than PostgreSQL: --build-arg EXTRAS="mariadb sqlite"
ARG EXTRAS=""
# Dependencies change less often than code, so they have a layer of their own.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --no-cache ${EXTRAS:+$(printf -- "--extra %s " $EXTRAS)}

COPY . .
# Files keep the modes that the umask of whoever cloned them gave, and who runs them is somebody else.
RUN chmod --recursive a+rX . \
 && python -m compileall -q --invalidation-mode unchecked-hash *.py src migrations examples


FROM python:3.13-slim

LABEL org.opencontainers.image.title="db" \
      org.opencontainers.image.description="An event-driven data service: requests over RabbitMQ, rows in PostgreSQL, exactly once." \
      org.opencontainers.image.licenses="MIT"

WORKDIR /app
COPY --from=build /app /app
ENV PATH="/app/.venv/bin:$PATH" PYTHONUNBUFFERED=1 HTTP_PORT=8080 HTTP_HOST=0.0.0.0
# The image of Python has no bytecode of the standard library: to import writes what is missing.
RUN ["python", "-c", "import alembic.command, uvloop, src.cli, src.service"]
# A number: an orchestrator sees by it that this is not root.
USER 10001:10001
EXPOSE 8080

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD python -m src.admin.healthcheck "$HTTP_PORT"
CMD ["python", "main.py", "serve"]
