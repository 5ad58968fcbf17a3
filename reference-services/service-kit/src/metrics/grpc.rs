//! The status of an answer over gRPC, which is not its HTTP status.

use axum::http::{HeaderMap, StatusCode};

/// The code of an answer that is nothing but an error: then it is told in the header. An answer with
/// content tells it at its end, where it is OK unless sending broke off.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<GrpcStatus> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    Some(GrpcStatus { code })
}

/// A status code of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrpcStatus {
    pub(crate) code: u16,
}

impl GrpcStatus {
    /// The HTTP status of the same meaning, as `google.rpc.Code` pairs them.
    pub(crate) fn as_http(self) -> StatusCode {
        match self.code {
            0 => StatusCode::OK,
            // Cancelled: there is no registered status for a client that is gone.
            1 => StatusCode::from_u16(499).expect("499 has three digits"),
            // Invalid argument, failed precondition, out of range.
            3 | 9 | 11 => StatusCode::BAD_REQUEST,
            4 => StatusCode::GATEWAY_TIMEOUT,
            5 => StatusCode::NOT_FOUND,
            // Already exists, aborted.
            6 | 10 => StatusCode::CONFLICT,
            7 => StatusCode::FORBIDDEN,
            8 => StatusCode::TOO_MANY_REQUESTS,
            12 => StatusCode::NOT_IMPLEMENTED,
            14 => StatusCode::SERVICE_UNAVAILABLE,
            16 => StatusCode::UNAUTHORIZED,
            // Unknown, internal, data loss, and what there is no such code for.
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn every_code_has_the_class_of_its_meaning() {
        let classes: Vec<u16> = (0..=16)
            .map(|code| GrpcStatus { code }.as_http().as_u16() / 100)
            .collect();
        assert_eq!(classes, [2, 4, 5, 4, 5, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 4]);
    }

    #[test]
    fn what_is_no_code_is_no_status() {
        for (text, expected) in [("5", Some(5)), ("five", None), ("-1", None)] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static(text));
            assert_eq!(grpc_status(&headers).map(|it| it.code), expected);
        }
    }
}
