"""Development tooling: real servers to develop and test against, and a check of the migrations."""
