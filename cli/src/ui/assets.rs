//! The files of the pages, which are part of the program.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const TEXT: &str = "text/plain; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(super) async fn index() -> Response {
    let html = include_str!("../../assets/index.html");
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", include_str!("../../assets/style.css")),
        "main.js" => (SCRIPT, include_str!("../../assets/main.js")),
        "page.js" => (SCRIPT, include_str!("../../assets/page.js")),
        "chart.js" => (SCRIPT, include_str!("../../assets/chart.js")),
        "kafka.js" => (SCRIPT, include_str!("../../assets/kafka.js")),
        "lightweight-charts.js" => (SCRIPT, include_str!("../../assets/vendor/lightweight-charts.js")),
        "LICENSE-lightweight-charts" => {
            (TEXT, include_str!("../../assets/vendor/LICENSE-lightweight-charts"))
        }
        "icon.svg" => ("image/svg+xml", include_str!("../../assets/icon.svg")),
        _ => return (StatusCode::NOT_FOUND, "There is no such file.\n").into_response(),
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
