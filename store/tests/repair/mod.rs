//! Promise: a repair loses nothing that a sound block, page or file still holds, brings nothing back that was
//! deleted, says exactly what is lost, and leaves a sound store; adding and ingesting just what it lists
//! gives the original content again.

mod any;
mod crash;
mod manifests;
mod misplaced;
mod refusals;
mod samples;
mod segments;
mod support;
