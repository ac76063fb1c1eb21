//! The client: one request, one answer, no waiting for ever.

mod error;
mod lines;
mod query;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use linecard_observe::{
    ConnectionQuery, ConnectionsReport, DropsReport, ExplainQuery, FiltersReport, HealthReport,
    NeighboursReport, PacketReport, PolicersReport, PortsReport, ProtectionReport, ReloadReport,
    RouteQuery, RouteReport, RoutesReport, TapEvent, TapQuery,
};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::routes::Problem;
use lines::JsonLines;
use query::{encode, encode_connections, percent_encoded};

pub use error::ClientError;

/// How long a daemon may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a reload may take: a hundred thousand rules are read and judged within it.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client that is told of packets waits for the next before it looks around.
const TICK: Duration = Duration::from_millis(100);

/// Asks the daemon behind one socket; each call is a connection of its own and blocks.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon on `socket`. Does not connect yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// All ports with their counters.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn ports(&self) -> Result<PortsReport, ClientError> {
        self.get("/v1/ports")
    }

    /// One page of routes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn routes(&self, query: &RouteQuery) -> Result<RoutesReport, ClientError> {
        self.get(&format!("/v1/routes{}", encode(query)))
    }

    /// All routes that `query` asks for, page by page into `each`, until it returns false.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn each_route(
        &self,
        mut query: RouteQuery,
        mut each: impl FnMut(RouteReport) -> bool,
    ) -> Result<(), ClientError> {
        loop {
            let page = self.routes(&query)?;
            for route in page.routes {
                if !each(route) {
                    return Ok(());
                }
            }
            query.after = page.next;
            if query.after.is_none() {
                return Ok(());
            }
        }
    }

    /// All neighbours.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn neighbours(&self) -> Result<NeighboursReport, ClientError> {
        self.get("/v1/neighbours")
    }

    /// The counters by reason.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn drops(&self) -> Result<DropsReport, ClientError> {
        self.get("/v1/drops")
    }

    /// The state of the daemon.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn health(&self) -> Result<HealthReport, ClientError> {
        self.get("/v1/health")
    }

    /// All policers with their counters.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn policers(&self) -> Result<PolicersReport, ClientError> {
        self.get("/v1/policers")
    }

    /// All filters with their rules' counters.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn filters(&self) -> Result<FiltersReport, ClientError> {
        self.get("/v1/filters")
    }

    /// What reaches the kernel, and what was too much, by class.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn protection(&self) -> Result<ProtectionReport, ClientError> {
        self.get("/v1/protection")
    }

    /// One page of connections; of the first one also how many there are in each state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn connections(&self, query: &ConnectionQuery) -> Result<ConnectionsReport, ClientError> {
        self.get(&format!("/v1/connections{}", encode_connections(query)))
    }

    /// The first `limit` connections that `query` asks for, by as many pages as it takes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn connections_up_to(
        &self,
        mut query: ConnectionQuery,
        limit: usize,
    ) -> Result<ConnectionsReport, ClientError> {
        query.limit = limit.min(ConnectionQuery::LIMIT_MAX);
        let mut all = self.connections(&query)?;
        while let Some(next) = all.next.filter(|_| all.connections.len() < limit) {
            query.from = next;
            query.limit = (limit - all.connections.len()).min(ConnectionQuery::LIMIT_MAX);
            let page = self.connections(&query)?;
            all.connections.extend(page.connections);
            all.next = page.next;
        }
        all.connections.truncate(limit);
        Ok(all)
    }

    /// Makes the daemon read its configuration again.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] says what is wrong with the configuration.
    pub fn reload(&self) -> Result<ReloadReport, ClientError> {
        self.ask(Method::POST, "/v1/reload", Bytes::new(), RELOAD_TIMEOUT)
    }

    /// What would happen to a packet.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] says what is wrong with the query.
    pub fn explain(&self, query: &ExplainQuery) -> Result<PacketReport, ClientError> {
        self.ask(Method::POST, "/v1/explain", self.body(query)?, ANSWER_TIMEOUT)
    }

    /// Gives `each` what the daemon tells of single packets, until it returns false or the daemon has no more.
    /// It is also called with nothing, some times a second.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] says what is wrong with the query.
    pub fn tap(
        &self,
        query: &TapQuery,
        mut each: impl FnMut(Option<TapEvent>) -> bool,
    ) -> Result<(), ClientError> {
        let body = self.body(query)?;
        self.runtime()?.block_on(async {
            let answer = self.begin(Method::POST, "/v1/tap", body);
            let answer = self.in_time(ANSWER_TIMEOUT, answer).await?;
            let (status, mut body) = (answer.status(), answer.into_body());
            let mut lines = JsonLines::default();
            loop {
                let frame = match tokio::time::timeout(TICK, body.frame()).await {
                    Err(_) if each(None) => continue,
                    Err(_) => return Ok(()),
                    Ok(frame) => frame,
                };
                let Some(frame) = frame else { break };
                let frame = frame.map_err(|error| self.not_understood(&error.to_string()))?;
                lines.add(&frame.into_data().unwrap_or_default());
                while status == StatusCode::OK
                    && let Some(line) = lines.next()
                {
                    let event = serde_json::from_slice(line)
                        .map_err(|error| self.not_understood(&error.to_string()))?;
                    if !each(Some(event)) {
                        return Ok(());
                    }
                }
            }
            if status == StatusCode::OK { Ok(()) } else { Err(self.refused(status, lines.rest())) }
        })
    }

    fn body(&self, query: &impl serde::Serialize) -> Result<Bytes, ClientError> {
        let text = serde_json::to_vec(query);
        Ok(text.map_err(|error| self.not_understood(&error.to_string()))?.into())
    }

    fn runtime(&self) -> Result<tokio::runtime::Runtime, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| self.system(error))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let error = serde_json::from_slice::<Problem>(body)
            .map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |problem| problem.error);
        ClientError::Refused { socket: self.socket.clone(), status: status.as_u16(), error }
    }

    /// Makes the daemon read the file of one set again, and nothing else.
    ///
    /// # Errors
    /// As [`Self::reload`], also when there is no such set.
    pub fn reload_set(&self, name: &str) -> Result<ReloadReport, ClientError> {
        let path = format!("/v1/reload?set={}", percent_encoded(name));
        self.ask(Method::POST, &path, Bytes::new(), RELOAD_TIMEOUT)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new(), ANSWER_TIMEOUT)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let (status, body) = self
            .runtime()?
            .block_on(async { self.in_time(timeout, self.fetch(method, path, body)).await })?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .map_err(|error| self.not_understood(&error.to_string()));
        }
        Err(self.refused(status, &body))
    }

    async fn in_time<T>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let late = |_| ClientError::TimedOut { socket: self.socket.clone(), timeout };
        tokio::time::timeout(timeout, answer).await.map_err(late)?
    }

    async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let response = self.begin(method, path, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| self.not_understood(&error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    /// Sends a request; the answer's body is yet to come.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NoDaemon(self.socket.clone())
                }
                io::ErrorKind::PermissionDenied => {
                    ClientError::PermissionDenied(self.socket.clone())
                }
                _ => self.system(error),
            })?;
        let broken = |error: hyper::Error| self.not_understood(&error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // What goes wrong on the connection comes out of the request as well.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.not_understood(&error.to_string()))?;
        sender.send_request(request).await.map_err(broken)
    }

    fn system(&self, error: io::Error) -> ClientError {
        ClientError::System { socket: self.socket.clone(), error }
    }

    fn not_understood(&self, error: &str) -> ClientError {
        ClientError::NotUnderstood { socket: self.socket.clone(), error: error.to_owned() }
    }
}
