//! `faults`: brings a store down in every way we know, and checks what is left. See the crate's documentation.

use gstore_faults::sim::{self, SimOptions};
use gstore_faults::*;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let get = |n: &str| args.iter().position(|a| a == n).and_then(|i| args.get(i+1)).and_then(|v| v.parse::<u64>().ok());
    let options = SimOptions { steps: get("--steps").unwrap_or(14) as usize, images: get("--images").unwrap_or(16), onward: get("--onward").unwrap_or(8), threads: 2 };
    if let (Some(s), Some(at), Some(k)) = (get("--seed"), get("--at"), get("--image")) {
        println!("{:?}", sim::replay(s, at as usize, k, &options));
        return;
    }
    let mut report = Report::new("sim");
    let stop = Stop::after(get("--seconds").map(std::time::Duration::from_secs));
    for seed in get("--seed").unwrap_or(1).. {
        if stop.now() || seed >= get("--seed").unwrap_or(1) + get("--seeds").unwrap_or(1) { break; }
        sim::run(seed, &options, &stop, &mut report);
    }
    println!("{}", report.finish().line());
}
