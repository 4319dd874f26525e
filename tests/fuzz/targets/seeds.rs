//! Writes what fuzzing begins with below the folder that is named: `corpus/TARGET/`.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("usage: seeds FOLDER");
    for target in nas_sync_fuzz::TARGETS {
        let place = Path::new(&folder).join(target.name);
        fs::create_dir_all(&place)?;
        for (number, seed) in nas_sync_fuzz::seeds(target.name).iter().enumerate() {
            fs::write(place.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
