//! Commands of Flight SQL and of plain Flight, as what a client asks for.

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{
    Any, Command, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTables,
    CommandGetXdbcTypeInfo,
};
use prost::Message;
use tonic::Status;

use super::plain::{self, PlainRequest};

/// What a descriptor or a ticket asks for.
pub(crate) enum FlightRequest {
    Statement(String),
    /// A statement or a part of a large answer that the server gave out as a handle.
    Handle(bytes::Bytes),
    /// A dataset, vectors, or a question as JSON.
    Plain(PlainRequest),
    About(About),
}

pub(crate) enum About {
    Catalogs,
    Schemas(CommandGetDbSchemas),
    Tables(CommandGetTables),
    TableTypes,
    PrimaryKeys(CommandGetPrimaryKeys),
    /// Keys that refer to other tables, of which there are none.
    ForeignKeys,
    SqlInfo(CommandGetSqlInfo),
    Types(CommandGetXdbcTypeInfo),
}

impl About {
    /// What is listed, as the record of requests has it.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Catalogs => "catalogs".to_owned(),
            Self::Schemas(_) => "schemas".to_owned(),
            Self::Tables(command) => {
                let name = command.table_name_filter_pattern.as_deref().unwrap_or_default();
                format!("tables {name}").trim_end().to_owned()
            }
            Self::TableTypes => "table types".to_owned(),
            Self::PrimaryKeys(command) => format!("primary keys of {}", command.table),
            Self::ForeignKeys => "foreign keys".to_owned(),
            Self::SqlInfo(_) => "what the server can do".to_owned(),
            Self::Types(_) => "types".to_owned(),
        }
    }
}

pub(crate) fn read_descriptor(descriptor: &FlightDescriptor) -> Result<FlightRequest, Status> {
    match descriptor.r#type() {
        DescriptorType::Path => plain::read_path(&descriptor.path).map(FlightRequest::Plain),
        _ if descriptor.cmd.first() == Some(&b'{') => {
            plain::read_json(&descriptor.cmd).map(FlightRequest::Plain)
        }
        _ => read_command(&descriptor.cmd),
    }
}

/// Reads a ticket, which may also be what a descriptor can be.
pub(crate) fn read_ticket(ticket: &[u8]) -> Result<FlightRequest, Status> {
    match ticket.first() {
        Some(b'{') => plain::read_json(ticket).map(FlightRequest::Plain),
        _ => read_command(ticket),
    }
}

/// Refuses a statement that is to be part of a transaction.
pub(crate) fn check_transaction(id: Option<&[u8]>) -> Result<(), Status> {
    match id {
        None | Some([]) => Ok(()),
        Some(_) => Err(Status::unimplemented(
            "there are no transactions; the header `gstore-snapshot` lets several statements see one snapshot",
        )),
    }
}

fn read_command(bytes: &[u8]) -> Result<FlightRequest, Status> {
    let wrong = || {
        Status::invalid_argument(
            "neither a command of Flight SQL nor a JSON object; docs/server.md lists both",
        )
    };
    let any = Any::decode(bytes).map_err(|_| wrong())?;
    Ok(match Command::try_from(any).map_err(|_| wrong())? {
        Command::CommandStatementQuery(command) => {
            check_transaction(command.transaction_id.as_deref())?;
            FlightRequest::Statement(command.query)
        }
        Command::TicketStatementQuery(ticket) => FlightRequest::Handle(ticket.statement_handle),
        Command::CommandPreparedStatementQuery(command) => {
            FlightRequest::Handle(command.prepared_statement_handle)
        }
        Command::CommandGetCatalogs(_) => FlightRequest::About(About::Catalogs),
        Command::CommandGetDbSchemas(command) => FlightRequest::About(About::Schemas(command)),
        Command::CommandGetTables(command) => FlightRequest::About(About::Tables(command)),
        Command::CommandGetTableTypes(_) => FlightRequest::About(About::TableTypes),
        Command::CommandGetPrimaryKeys(command) => FlightRequest::About(About::PrimaryKeys(command)),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => FlightRequest::About(About::ForeignKeys),
        Command::CommandGetSqlInfo(command) => FlightRequest::About(About::SqlInfo(command)),
        Command::CommandGetXdbcTypeInfo(command) => FlightRequest::About(About::Types(command)),
        Command::CommandStatementSubstraitPlan(_) => {
            return Err(Status::unimplemented("plans in Substrait are not supported; send SQL"));
        }
        Command::Unknown(_) => return Err(wrong()),
        other => {
            let what = other.type_url().rsplit('.').next().unwrap_or_default().to_owned();
            return Err(Status::invalid_argument(format!("{what} asks for no rows")));
        }
    })
}
