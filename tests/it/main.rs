//! Whole-system stories, one binary. Each runs on SQLite and on PostgreSQL; `make test` starts the latter.

mod story;
mod support;
