//! `gstore serve`: answers clients over the network until it is told to stop.

use std::path::Path;

use anyhow::{Error, Result};
use gstore_server::logs;
use gstore_server::{
    Addresses, ConnectionLimits, RequestLimits, ServeError, ServeOptions, Tls, Tokens, serve,
};
use gstore_sql::SqlOptions;

use crate::args::ServeArgs;
use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::models;
use crate::streams::out;

pub fn run(context: &Context, args: &ServeArgs) -> Result<()> {
    let store = context.open()?;
    args.limits.spill.as_deref().map_or(Ok(()), check_spill)?;
    let options = options(context, args)?;
    logs::begin(args.log, &args.log_level).map_err(UsageError)?;
    if !args.without_tokens && Tokens::of(&store).list()?.is_empty() {
        logs::note(&format!(
            "there is no token yet, so no client can ask; `gstore token create NAME --scope read{}` makes one",
            context.at_store()
        ));
    }
    // The log says it.
    let stop = context.cancel_on_interrupt("");
    let scheme = if args.tls_cert.is_some() { "grpc+tls" } else { "grpc" };
    let page = if args.tls_cert.is_some() { "https" } else { "http" };
    let announce = |addresses: Addresses| -> Result<()> {
        out!("{scheme}://{}", addresses.flight);
        if let Some(address) = addresses.http {
            out!("{page}://{address}/");
        }
        Ok(())
    };
    let served = serve(store, options, &stop, |addresses| {
        // A closed standard output only means that the address is not wanted; the server runs all the same.
        let _ = announce(addresses);
    });
    served.map_err(|error| match error {
        ServeError::PlainText(_) => {
            let way_out = "give --tls-cert and --tls-key, or accept that with --plain-text";
            UsageError(format!("{error}; {way_out}")).into()
        }
        error if error.is_usage() => UsageError(error.to_string()).into(),
        error => Error::from(error),
    })?;
    Ok(())
}

/// Refuses a folder that nothing could be written to once a statement needs it.
fn check_spill(folder: &Path) -> Result<()> {
    let made = fs_err::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    match made {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(UsageError(format!("--spill: {} cannot be used: {error}", folder.display())).into())
        }
    }
}

fn options(context: &Context, args: &ServeArgs) -> Result<ServeOptions> {
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let limits = &args.limits;
    let usual = RequestLimits::default().statements_each;
    if limits.statements_each.is_some_and(|each| each > limits.statements) {
        refuse!("--statements-each is a part of --statements, and cannot be more");
    }
    if limits.memory_each.is_some_and(|each| each > limits.memory) {
        refuse!("--memory-each is a part of --memory, and cannot be more");
    }
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let encoder = match args.no_encoder {
        true => None,
        false => Some(models::quiet_encoder(context, &args.models)?),
    };
    // A GPU that cannot be used is told now, and not to the first client.
    if let Some(encoder) = &encoder {
        encoder.products()?;
    }
    Ok(ServeOptions {
        listen: args.listen,
        http: args.http,
        tls: tls.map(|(certificate, key)| Tls { certificate, key, client_ca: args.client_ca.clone() }),
        plain_text: args.plain_text,
        without_tokens: args.without_tokens,
        limits: RequestLimits {
            statements: limits.statements,
            statements_each: limits.statements_each.unwrap_or(limits.statements.min(usual)),
            waiting: limits.waiting,
            time: limits.time,
            result_bytes: limits.result_size,
            message_bytes: bytes(limits.message_size),
            put_rows: limits.put_rows,
            put_bytes: limits.put_size,
            batch_bytes: bytes(limits.batch_size),
            connections: ConnectionLimits {
                most: limits.connections.connections,
                idle: limits.connections.idle,
                reader: limits.connections.unread,
            },
        },
        sql: SqlOptions {
            threads: context.threads,
            memory_limit: bytes(limits.memory),
            memory_each: Some(bytes(limits.memory_each.unwrap_or(limits.memory / 2))),
            spill: limits.spill.clone(),
            encoder,
            own: Vec::new(),
        },
        drain: args.drain,
        audit: args.audit_log.clone(),
    })
}
