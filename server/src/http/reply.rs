//! HTTP replies that are no rows: texts, objects, and errors with the status codes of HTTP.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::statements::word;

pub(super) fn body_of_type(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    body_of_type(status, "text/plain; charset=utf-8", text.into())
}

pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    body_of_type(status, "application/json", value.to_string().into())
}

/// An error as an object: its code and its message.
pub(super) fn object(status: &Status) -> Value {
    json!({"code": word(Some(status.code())), "message": status.message()})
}

pub(super) fn error(status: &Status) -> Response {
    json(http_code(status.code()), &json!({"error": object(status)}))
}

fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::OutOfRange => StatusCode::PAYLOAD_TOO_LARGE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unavailable | Code::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Internal | Code::Unknown | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
