//! What is asked and what is answered.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use linecard_observe::{
    ConnectionQuery, ConnectionsReport, DropsReport, ExplainQuery, FiltersReport, HealthReport,
    NeighboursReport, PacketReport, PolicersReport, PortsReport, ProtectionReport, ReloadReport,
    RouteQuery, RoutesReport, TapQuery,
};
use serde::{Deserialize, Serialize};

use crate::feed::{Feed, Lines};

/// Where the answers come from: the daemon.
///
/// Called on the API's thread, one call at a time. A call should take about a millisecond at the
/// most, which is why routes come in pages; it must never make a worker wait.
pub trait Source: Send + Sync + 'static {
    /// All ports with their counters.
    fn ports(&self) -> PortsReport;
    /// The page of routes that `query` asks for.
    fn routes(&self, query: &RouteQuery) -> RoutesReport;
    /// All neighbours.
    fn neighbours(&self) -> NeighboursReport;
    /// The state of the daemon.
    fn health(&self) -> HealthReport;
    /// All filters with their rules' counters.
    fn filters(&self) -> FiltersReport {
        FiltersReport::default()
    }
    /// What reaches the kernel, and what was too much, by class.
    fn protection(&self) -> ProtectionReport {
        ProtectionReport::default()
    }
    /// The page of connections that `query` asks for.
    fn connections(&self, _query: &ConnectionQuery) -> ConnectionsReport {
        ConnectionsReport::default()
    }
    /// All policers with their counters.
    fn policers(&self) -> PolicersReport {
        PolicersReport::default()
    }
    /// Reads the configuration again, or one of its sets alone, and applies what can be applied without a
    /// restart. May take longer than other calls.
    ///
    /// # Errors
    /// What is wrong with the configuration; nothing is changed then.
    fn reload(&self, set: Option<&str>) -> Result<ReloadReport, String> {
        let _ = set;
        Err("this daemon has no configuration file to read again".to_owned())
    }
    /// Tells of single packets from now on. What the feed does with the daemon it does on the API's thread.
    ///
    /// # Errors
    /// What is wrong with the query, or why nobody can be served now.
    fn tap(&self, _query: &TapQuery) -> Result<Box<dyn Feed>, String> {
        Err("this daemon tells of no packets".to_owned())
    }
    /// What would happen to a packet.
    ///
    /// # Errors
    /// What is wrong with the query.
    fn explain(&self, _query: &ExplainQuery) -> Result<PacketReport, String> {
        Err("this daemon explains no packets".to_owned())
    }
    /// The counters by reason.
    fn drops(&self) -> DropsReport {
        DropsReport::of(&self.ports())
    }
}

/// The body of every answer that is not 200.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) error: String,
}

fn problem(status: StatusCode, error: String) -> Response {
    (status, Json(Problem { error })).into_response()
}

/// All paths.
pub(crate) fn router(source: Arc<dyn Source>) -> Router {
    type Shared = State<Arc<dyn Source>>;
    Router::new()
        .route("/v1/ports", get(|State(source): Shared| async move { Json(source.ports()) }))
        .route("/v1/drops", get(|State(source): Shared| async move { Json(source.drops()) }))
        .route("/v1/health", get(|State(source): Shared| async move { Json(source.health()) }))
        .route(
            "/v1/neighbours",
            get(|State(source): Shared| async move { Json(source.neighbours()) }),
        )
        .route("/v1/filters", get(|State(source): Shared| async move { Json(source.filters()) }))
        .route(
            "/v1/protection",
            get(|State(source): Shared| async move { Json(source.protection()) }),
        )
        .route("/v1/policers", get(|State(source): Shared| async move { Json(source.policers()) }))
        .route("/v1/reload", post(reload))
        .route("/v1/tap", post(tap))
        .route("/v1/explain", post(explain))
        .route("/v1/routes", get(routes))
        .route("/v1/connections", get(connections))
        .fallback(unknown)
        .with_state(source)
}

async fn routes(
    State(source): State<Arc<dyn Source>>,
    query: Result<Query<RouteQuery>, QueryRejection>,
) -> Response {
    match query {
        Err(rejection) => problem(StatusCode::BAD_REQUEST, rejection.body_text()),
        Ok(Query(query)) if !(1..=RouteQuery::LIMIT_MAX).contains(&query.limit) => {
            let error = format!("limit is {}: 1 to {}", query.limit, RouteQuery::LIMIT_MAX);
            problem(StatusCode::BAD_REQUEST, error)
        }
        Ok(Query(query)) => Json(source.routes(&query)).into_response(),
    }
}

async fn connections(
    State(source): State<Arc<dyn Source>>,
    query: Result<Query<ConnectionQuery>, QueryRejection>,
) -> Response {
    match query {
        Err(rejection) => problem(StatusCode::BAD_REQUEST, rejection.body_text()),
        Ok(Query(query)) if query.limit > ConnectionQuery::LIMIT_MAX => {
            let error = format!("limit is {}: 0 to {}", query.limit, ConnectionQuery::LIMIT_MAX);
            problem(StatusCode::BAD_REQUEST, error)
        }
        Ok(Query(query)) => Json(source.connections(&query)).into_response(),
    }
}

/// What is to be read again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    /// One set; else everything.
    set: Option<String>,
}

async fn reload(
    State(source): State<Arc<dyn Source>>,
    query: Result<Query<ReloadQuery>, QueryRejection>,
) -> Response {
    let set = match query {
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, rejection.body_text()),
        Ok(Query(query)) => query.set,
    };
    match source.reload(set.as_deref()) {
        Ok(report) => Json(report).into_response(),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, error),
    }
}

async fn tap(
    State(source): State<Arc<dyn Source>>,
    query: Result<Json<TapQuery>, JsonRejection>,
) -> Response {
    match query.map_err(|rejection| rejection.body_text()).and_then(|Json(it)| source.tap(&it)) {
        Ok(feed) => {
            let json_lines = [(header::CONTENT_TYPE, "application/x-ndjson")];
            (json_lines, Body::new(Lines::new(feed))).into_response()
        }
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, error),
    }
}

async fn explain(
    State(source): State<Arc<dyn Source>>,
    query: Result<Json<ExplainQuery>, JsonRejection>,
) -> Response {
    let asked = query.map_err(|rejection| rejection.body_text());
    match asked.and_then(|Json(query)| source.explain(&query)) {
        Ok(report) => Json(report).into_response(),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, error),
    }
}

async fn unknown(uri: Uri) -> Response {
    let known = "/v1/ports, /v1/routes, /v1/neighbours, /v1/drops, /v1/filters, /v1/policers, \
                 /v1/connections, /v1/protection, /v1/health";
    let error = format!(
        "there is no {}: GET one of {known}, or POST /v1/reload, /v1/tap, /v1/explain",
        uri.path()
    );
    problem(StatusCode::NOT_FOUND, error)
}
