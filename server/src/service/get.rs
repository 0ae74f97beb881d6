//! `GetFlightInfo` and `DoGet`: what an answer will look like, and its rows.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use arrow_schema::SchemaRef;
use gstore_sql::output::plain_schema;
use prost::Message;
use tonic::Status;

use super::AuthorizedRequest;
use crate::answer::ask::{self, About, FlightRequest};
use crate::answer::parts::{self, AnswerParts};
use crate::answer::plain::PlainRequest;
use crate::answer::{catalog, rows, stream};
use crate::audit::AuditRecord;
use crate::handle::{PinnedSnapshot, Question, QuestionHandle};
use crate::sessions::OpenSession;
use crate::status;

/// Bytes of a command that an answer gives back: what a longer one has, such as values of parameters, is in
/// the ticket as well.
const GIVEN_BACK: usize = 64 << 10;

/// Work for a statement before its rows.
pub(super) const PLANNING: &str = "planning the statement";

impl AuthorizedRequest {
    /// The session that answers: on the snapshot of a handle, else on the one of the headers, else on the
    /// newest.
    pub(super) async fn session(&self, handle: Option<&PinnedSnapshot>) -> Result<Arc<OpenSession>, Status> {
        match handle {
            Some(pinned) => self.core.session_of(pinned, &self.caller).await,
            None => self.core.session(self.snapshot.clone(), &self.caller).await,
        }
    }

    /// Work that may take a while, on the workers, by what it is called. It holds its turn until it has
    /// ended, also when the client is gone.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let permit = self.core.admission.enter(&self.caller.id).await?;
        let limit = self.core.limits.time;
        let done = self.core.workers.spawn(async move {
            let _permit = permit;
            work.await
        });
        match tokio::time::timeout(limit, done).await {
            Ok(done) => done.unwrap_or_else(|e| Err(status::internal("the request failed", &e))),
            Err(_) => Err(Status::deadline_exceeded(format!("{what} took too long"))),
        }
    }
}

/// Describes an answer: its columns, and the tickets for its rows.
pub(super) async fn flight_info(
    asking: &AuthorizedRequest,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let (schema, info) = match ask::read_descriptor(&descriptor)? {
        FlightRequest::About(about) => {
            let batch = listed(asking, about).await?;
            // The command itself asks for the rows.
            let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(descriptor.cmd.clone()));
            let rows = i64::try_from(batch.num_rows()).unwrap_or(-1);
            (batch.schema(), FlightInfo::new().with_endpoint(endpoint).with_total_records(rows))
        }
        asked => {
            let what = request_text(&asked);
            let described = describe(asking, asked).await.inspect_err(|status| {
                AuditRecord::begin(&asking.core.audit, "plan", &what, &asking.caller).ended(Err(status));
            })?;
            (Arc::clone(&described.schema), described.info(asking))
        }
    };
    let info = info.try_with_schema(&plain_schema(&schema));
    let info = info.map_err(|e| status::internal("a schema cannot be sent", &e))?;
    // Clients have a limit for a message, and some take none without a descriptor.
    Ok(info.with_descriptor(match descriptor.cmd.len() > GIVEN_BACK {
        true => FlightDescriptor::new_cmd(bytes::Bytes::new()),
        false => descriptor,
    }))
}

/// The columns of an answer.
pub(super) async fn schema(
    asking: &AuthorizedRequest,
    descriptor: &FlightDescriptor,
) -> Result<SchemaRef, Status> {
    let schema = match ask::read_descriptor(descriptor)? {
        FlightRequest::About(about) => listed(asking, about).await?.schema(),
        asked => describe(asking, asked).await?.schema,
    };
    Ok(plain_schema(&schema))
}

/// A table about tables.
async fn listed(asking: &AuthorizedRequest, about: About) -> Result<RecordBatch, Status> {
    let (core, caller) = (Arc::clone(&asking.core), asking.caller.clone());
    let held = asking.session(None).await?;
    let work = async move { catalog::batch(&core, &held, &caller, about).await };
    asking.apart("listing what there is", work).await
}

/// What is asked for, as the record of requests has it.
fn request_text(asked: &FlightRequest) -> String {
    match asked {
        FlightRequest::Statement(sql) => sql.clone(),
        FlightRequest::Plain(wanted) => wanted.to_string(),
        FlightRequest::Handle(_) => "a handle".to_owned(),
        FlightRequest::About(about) => about.what(),
    }
}

/// An answer before its rows.
pub(super) struct DescribedAnswer {
    snapshot: PinnedSnapshot,
    parts: AnswerParts,
    pub(super) schema: SchemaRef,
}

impl DescribedAnswer {
    /// Tickets for the parts, each on the same snapshot.
    pub(super) fn info(&self, asking: &AuthorizedRequest) -> FlightInfo {
        let endpoints = self.parts.questions.iter().map(|question| {
            let handle = QuestionHandle::new(Some(self.snapshot.clone()), question.clone());
            let statement_handle = asking.core.signer.sign(&handle).into();
            let ticket = TicketStatementQuery { statement_handle }.as_any().encode_to_vec();
            FlightEndpoint::new().with_ticket(Ticket::new(ticket))
        });
        let number = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
        FlightInfo::new()
            .with_endpoints(endpoints.collect())
            .with_total_records(number(self.parts.rows))
            .with_total_bytes(number(self.parts.bytes))
            .with_ordered(true)
    }
}

/// Plans what is asked for, so that what is wrong with it is said at once.
pub(super) async fn describe(
    asking: &AuthorizedRequest,
    asked: FlightRequest,
) -> Result<DescribedAnswer, Status> {
    let core = Arc::clone(&asking.core);
    let (held, parts) = match asked {
        FlightRequest::Statement(sql) => {
            (asking.session(None).await?, AnswerParts::one(Question::of_sql(sql)))
        }
        FlightRequest::Handle(bytes) => {
            let handle = core.signer.open(&bytes)?;
            let question =
                handle.question.ok_or_else(|| Status::invalid_argument("the handle asks for nothing"))?;
            (asking.session(handle.snapshot.as_ref()).await?, AnswerParts::one(question))
        }
        FlightRequest::Plain(wanted) => {
            let held = asking.session(None).await?;
            let parts = parts(asking, &held, wanted).await?;
            (held, parts)
        }
        FlightRequest::About(_) => return Err(Status::internal("a list of tables is not a statement")),
    };
    let Some(first) = parts.questions.first().cloned() else {
        return Err(Status::internal("an answer without parts"));
    };
    let snapshot = PinnedSnapshot::of(held.snapshot());
    let caller = asking.caller.clone();
    let known = match &first {
        Question::Statement(statement) => held.known(statement, &caller),
        Question::Vectors(_) | Question::Matrix(_) => None,
    };
    let schema = match known {
        Some(schema) => schema,
        None => {
            let columns = async move { rows::columns(&core, &held, &first, &caller).await };
            asking.apart(PLANNING, columns).await?
        }
    };
    Ok(DescribedAnswer { snapshot, parts, schema })
}

/// The parts of a plain answer; files are read for those of a dataset and of vectors.
async fn parts(
    asking: &AuthorizedRequest,
    held: &Arc<OpenSession>,
    wanted: PlainRequest,
) -> Result<AnswerParts, Status> {
    if matches!(wanted, PlainRequest::Statement(_) | PlainRequest::Matrix(_)) {
        return parts::of(held.snapshot(), &wanted);
    }
    let held = Arc::clone(held);
    asking.apart("finding the files of the answer", async move { parts::of(held.snapshot(), &wanted) }).await
}

pub(super) async fn rows(asking: &AuthorizedRequest, ticket: &[u8]) -> Result<stream::Messages, Status> {
    let core = &asking.core;
    let handle = match ask::read_ticket(ticket)? {
        FlightRequest::About(about) => {
            let what = about.what();
            let listed = asking.recorded("list", &what, listed(asking, about)).await?;
            return Ok(stream::batch_messages(listed));
        }
        FlightRequest::Handle(bytes) => core.signer.open(&bytes)?,
        FlightRequest::Statement(sql) => QuestionHandle::new(None, Question::of_sql(sql)),
        FlightRequest::Plain(wanted) => {
            let held = asking.session(None).await?;
            let mut questions = parts(asking, &held, wanted).await?.questions;
            let several = || {
                Status::invalid_argument(
                    "this answer has several parts; call GetFlightInfo for their tickets",
                )
            };
            let question = questions.pop().filter(|_| questions.is_empty()).ok_or_else(several)?;
            QuestionHandle::new(Some(PinnedSnapshot::of(held.snapshot())), question)
        }
    };
    let handle = match (&handle.snapshot, &asking.snapshot) {
        (None, Some(_)) => {
            let held = asking.session(None).await?;
            QuestionHandle { snapshot: Some(PinnedSnapshot::of(held.snapshot())), ..handle }
        }
        _ => handle,
    };
    let (kind, what) = match &handle.question {
        Some(Question::Statement(statement)) => ("statement", statement.sql.clone()),
        Some(Question::Vectors(v)) => {
            ("vectors", format!("{}/{}, rows {} to {}", v.dataset, v.feature, v.first, v.end))
        }
        Some(Question::Matrix(matrix)) => ("matrix", matrix.spec.clone()),
        None => ("nothing", String::new()),
    };
    let mut record = AuditRecord::begin(&core.audit, kind, &what, &asking.caller);
    let begun = rows::start(core, &asking.caller, handle, ticket, &record, None).await;
    let rows = begun.inspect_err(|status| record.ended(Err(status)))?;
    Ok(stream::row_messages(core, rows, record, asking.notes))
}
