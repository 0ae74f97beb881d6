//! The kernels' code: embedded PTX, compiled by the driver for its device; or, if the driver refuses it, the
//! embedded source compiled by NVRTC, if that library is available.

use cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts};

use super::raw::{self, Driver};
use crate::kernels::{PTX, source};

/// Compiles the embedded source for devices of capability 8.0 and newer.
pub(crate) fn compiled() -> Result<Ptx, String> {
    if !raw::has_nvrtc() {
        return Err("NVRTC, which could compile them, is not on the library path".to_owned());
    }
    let options = CompileOptions {
        arch: Some("compute_80"),
        options: vec!["-std=c++17".to_owned()],
        name: Some("gstore.cu".to_owned()),
        ..CompileOptions::default()
    };
    compile_ptx_with_opts(source(), options).map_err(|error| match error {
        CompileError::CompileError { log, .. } => format!("NVRTC: {}", log.to_string_lossy()),
        other => format!("NVRTC: {other:?}"),
    })
}

/// Loads all kernels into the device.
pub(super) fn load(device: &mut Driver) -> Result<(), String> {
    let Err(embedded) = device.load(Ptx::from_src(PTX)) else { return Ok(()) };
    let compiled = compiled().map_err(|reason| format!("{embedded}; {reason}"))?;
    device.load(compiled).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::kernel_names;

    /// NVRTC needs no GPU. If it is not on the library path, there is nothing to test.
    #[test]
    fn the_embedded_source_compiles_by_nvrtc() {
        if !raw::has_nvrtc() {
            return;
        }
        let ptx = compiled().unwrap().to_src();
        for name in kernel_names() {
            assert!(ptx.contains(&format!(".entry {name}(")), "{name}");
        }
    }
}
