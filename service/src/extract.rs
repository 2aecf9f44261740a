//! Path and query of a request, refused like everything else when they have the wrong form.

use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use baton_protocol::refusal::Input;
use serde::de::DeserializeOwned;

/// What a path takes.
#[derive(Debug)]
pub struct Path<T>(pub T);

/// A query; unknown parameters are ignored.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state).await.map(|path| Self(path.0)).map_err(|_| Input::Invalid.into())
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::from_request_parts(parts, state).await.map(|query| Self(query.0)).map_err(|_| Input::Invalid.into())
    }
}
