//! SqlInfo of Flight SQL: names, quotes, keywords, functions and abilities that a client asks a server for
//! before it shows a tree of tables.

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_flight::error::Result;
use arrow_flight::sql::metadata::SqlInfoDataBuilder;
use arrow_flight::sql::{
    SqlInfo as Info, SqlNullOrdering, SqlSupportedCaseSensitivity, SqlSupportedTransaction,
    SupportedSqlGrammar,
};
use arrow_select::filter::filter_record_batch;
use gstore_sql::{ARROW_VERSION, MAX_RELATIONS, MAX_SQL_BYTES};

use crate::core::Core;

// Words with blanks between them.
const NUMERIC: &str = "\
    abs acos asin atan atan2 ceil cos degrees exp floor ln log log10 log2 pi power radians random round \
    signum sin sqrt tan trunc";
const TEXT: &str = "\
    ascii btrim character_length chr concat concat_ws ends_with initcap left length lower lpad ltrim \
    octet_length repeat replace reverse right rpad rtrim split_part starts_with strpos substr translate \
    trim upper";
const TIME: &str = "current_date current_time date_bin date_part date_trunc now to_timestamp";
const SYSTEM: &str = "arrow_typeof version";
const KEYWORDS: &str = "EXCEPT EXPLAIN ILIKE LIMIT OFFSET QUALIFY SHOW DESCRIBE";

/// The answers to the numbers that are asked for; all where none is.
pub(crate) fn batch(core: &Core, asked: &[u32]) -> Result<RecordBatch> {
    let mut infos = SqlInfoDataBuilder::new();
    server(core, &mut infos);
    language(&mut infos);
    possible(&mut infos);
    limits(&mut infos);
    let whole = infos.build()?.record_batch([])?;
    let known = whole.column(0).as_primitive::<UInt32Type>().iter();
    let is_asked: BooleanArray =
        known.map(|number| number.map(|n| asked.is_empty() || asked.contains(&n))).collect();
    Ok(filter_record_batch(&whole, &is_asked)?)
}

fn server(core: &Core, infos: &mut SqlInfoDataBuilder) {
    infos.append(Info::FlightSqlServerName, "gstore");
    infos.append(Info::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    infos.append(Info::FlightSqlServerArrowVersion, ARROW_VERSION);
    infos.append(Info::FlightSqlServerReadOnly, true);
    infos.append(Info::FlightSqlServerSql, true);
    infos.append(Info::FlightSqlServerSubstrait, false);
    infos.append(Info::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    infos.append(Info::FlightSqlServerCancel, true);
    infos.append(Info::FlightSqlServerBulkIngestion, false);
    infos.append(Info::FlightSqlServerIngestTransactionsSupported, false);
    let milliseconds = i32::try_from(core.limits.time.as_millis()).unwrap_or(i32::MAX);
    infos.append(Info::FlightSqlServerStatementTimeout, milliseconds);
    infos.append(Info::FlightSqlServerTransactionTimeout, 0);
}

fn language(infos: &mut SqlInfoDataBuilder) {
    infos.append(Info::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64);
    infos.append(Info::SqlIdentifierQuoteChar, "\"");
    infos
        .append(Info::SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i64);
    infos.append(Info::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedAtEnd as i64);
    for (info, words) in [
        (Info::SqlKeywords, KEYWORDS),
        (Info::SqlNumericFunctions, NUMERIC),
        (Info::SqlStringFunctions, TEXT),
        (Info::SqlDatetimeFunctions, TIME),
        (Info::SqlSystemFunctions, SYSTEM),
    ] {
        infos.append(info, words.split(' ').map(str::to_owned).collect::<Vec<_>>());
    }
    infos.append(Info::SqlSearchStringEscape, "\\");
    infos.append(Info::SqlExtraNameCharacters, "");
    infos.append(Info::SqlSchemaTerm, "schema");
    infos.append(Info::SqlProcedureTerm, "procedure");
    infos.append(Info::SqlCatalogTerm, "catalog");
    let bit = |grammar: SupportedSqlGrammar| 1 << grammar as i32;
    let grammars = bit(SupportedSqlGrammar::SqlMinimumGrammar) | bit(SupportedSqlGrammar::SqlCoreGrammar);
    infos.append(Info::SqlSupportedGrammar, grammars);
}

fn possible(infos: &mut SqlInfoDataBuilder) {
    for (info, possible) in [
        (Info::SqlDdlCatalog, false),
        (Info::SqlDdlSchema, false),
        (Info::SqlDdlTable, false),
        (Info::SqlAllTablesAreSelectable, true),
        (Info::SqlSupportsColumnAliasing, true),
        (Info::SqlNullPlusNullIsNull, true),
        (Info::SqlSupportsTableCorrelationNames, true),
        (Info::SqlSupportsDifferentTableCorrelationNames, false),
        (Info::SqlSupportsExpressionsInOrderBy, true),
        (Info::SqlSupportsOrderByUnrelated, true),
        (Info::SqlSupportsLikeEscapeClause, true),
        (Info::SqlSupportsNonNullableColumns, true),
        (Info::SqlSupportsIntegrityEnhancementFacility, false),
        (Info::SqlCatalogAtStart, true),
        (Info::SqlSelectForUpdateSupported, false),
        (Info::SqlStoredProceduresSupported, false),
        (Info::SqlCorrelatedSubqueriesSupported, true),
        (Info::SqlTransactionsSupported, false),
        (Info::SqlDataDefinitionCausesTransactionCommit, false),
        (Info::SqlDataDefinitionsInTransactionsIgnored, false),
        (Info::SqlMaxRowSizeIncludesBlobs, true),
        (Info::SqlBatchUpdatesSupported, false),
        (Info::SqlSavepointsSupported, false),
        (Info::SqlNamedParametersSupported, true),
        (Info::SqlLocatorsUpdateCopy, false),
        (Info::SqlStoredFunctionsUsingCallSyntaxSupported, false),
    ] {
        infos.append(info, possible);
    }
    for (info, bits) in [
        // Schemas and catalogs stand nowhere but before tables; groups by anything; outer joins of all kinds.
        (Info::SqlSupportedGroupBy, 0b11),
        (Info::SqlOuterJoinsSupportLevel, 0b110),
        (Info::SqlSchemasSupportedActions, 0),
        (Info::SqlCatalogsSupportedActions, 0),
        (Info::SqlSupportedPositionedCommands, 0),
        (Info::SqlSupportedSubqueries, 0b1111),
        (Info::SqlSupportedUnions, 0b11),
        (Info::SqlSupportedTransactionsIsolationLevels, 1),
        (Info::SqlSupportedResultSetTypes, 0b10),
        (Info::SqlSupportedConcurrenciesForResultSetUnspecified, 0),
        (Info::SqlSupportedConcurrenciesForResultSetForwardOnly, 0b10),
        (Info::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0),
        (Info::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0),
    ] {
        infos.append(info, bits);
    }
    infos.append(Info::SqlSupportsConvert, std::collections::HashMap::<i32, Vec<i32>>::new());
}

/// 0 stands for no limit, or none that is known.
fn limits(infos: &mut SqlInfoDataBuilder) {
    for info in [
        Info::SqlMaxBinaryLiteralLength,
        Info::SqlMaxCharLiteralLength,
        Info::SqlMaxColumnNameLength,
        Info::SqlMaxColumnsInGroupBy,
        Info::SqlMaxColumnsInIndex,
        Info::SqlMaxColumnsInOrderBy,
        Info::SqlMaxColumnsInSelect,
        Info::SqlMaxColumnsInTable,
        Info::SqlMaxConnections,
        Info::SqlMaxCursorNameLength,
        Info::SqlMaxIndexLength,
        Info::SqlDbSchemaNameLength,
        Info::SqlMaxProcedureNameLength,
        Info::SqlMaxCatalogNameLength,
        Info::SqlMaxRowSize,
        Info::SqlMaxStatements,
        Info::SqlMaxTableNameLength,
        Info::SqlMaxUsernameLength,
        Info::SqlDefaultTransactionIsolation,
    ] {
        infos.append(info, 0i64);
    }
    infos.append(Info::SqlMaxStatementLength, i64::try_from(MAX_SQL_BYTES).unwrap_or(i64::MAX));
    infos.append(Info::SqlMaxTablesInSelect, i64::try_from(MAX_RELATIONS).unwrap_or(i64::MAX));
}
