//! What is sent: files that are the same on every machine, and the check that they arrived.
//!
//! Nothing here holds more than a small buffer, because a child's peak memory is measured from the size of the process
//! that started it upwards.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const BUFFER: usize = 64 * 1024;

/// A xorshift generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // A state of zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}

/// A file that no compressor shrinks.
pub fn noise(path: &Path, len: u64, seed: u64) -> io::Result<()> {
    let mut random = Random::new(seed);
    let mut buffer = vec![0; BUFFER];
    let mut file = File::create(path)?;
    let mut left = len;
    while left > 0 {
        let piece = &mut buffer[..usize::try_from(left).unwrap_or(BUFFER).min(BUFFER)];
        random.fill(piece);
        file.write_all(piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}

/// `files` files of `total` bytes together, `per_folder` in each folder; their sizes spread evenly around the mean.
pub fn tree(folder: &Path, files: u64, total: u64, per_folder: u64) -> io::Result<()> {
    let mean = total / files;
    let mut random = Random::new(files);
    let mut spread = 0;
    for number in 0..files {
        let below = folder.join(format!("d{:04}", number / per_folder));
        if number % per_folder == 0 {
            fs::create_dir(&below)?;
        }
        // Two files together have twice the mean length.
        let len = if number % 2 == 0 {
            spread = random.below(mean);
            mean - spread
        } else {
            mean + spread
        };
        noise(&below.join(format!("f{number:06}.pdf")), len, number)?;
    }
    Ok(())
}

/// Overwrites 64 bytes at `edits` places of a file.
pub fn edit(path: &Path, edits: u64) -> io::Result<()> {
    let mut random = Random::new(edits);
    let mut file = File::options().write(true).open(path)?;
    let len = file.metadata()?.len();
    let mut piece = [0; 64];
    for _ in 0..edits {
        random.fill(&mut piece);
        file.seek(SeekFrom::Start(random.below(len - 64)))?;
        file.write_all(&piece)?;
    }
    Ok(())
}

/// The documentation of the installed toolchain, where it is installed.
pub fn toolchain_html() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    let html = Path::new(sysroot.trim()).join("share/doc/rust/html/core");
    html.is_dir().then_some(html)
}

/// Pages of markup around words of which few are frequent and most are rare, as in generated documentation.
pub fn html(folder: &Path, total: u64) -> io::Result<()> {
    const PAGE: u64 = 96 * 1024;
    let mut random = Random::new(5);
    let mut letter = || char::from(b"etaoinsrhldcumfpgwybvk"[random.index(22)]);
    let words: Vec<String> = (0..4000_usize).map(|at| (0..3 + at % 8).map(|_| letter()).collect()).collect();
    let mut head = String::new();
    for word in &words[..60] {
        writeln!(head, "<link rel=\"stylesheet\" href=\"../static/{word}.css\">").map_err(io::Error::other)?;
    }
    for number in 0..total / PAGE {
        let mut page = format!("<!DOCTYPE html><html lang=\"en\"><head>\n{head}</head><body>\n");
        while (page.len() as u64) < PAGE {
            section(&mut page, &words, &mut random).map_err(io::Error::other)?;
        }
        page.push_str("</body></html>\n");
        fs::write(folder.join(format!("page{number:05}.html")), page)?;
    }
    Ok(())
}

fn section(page: &mut String, words: &[String], random: &mut Random) -> fmt::Result {
    let id = random.below(1 << 20);
    write!(
        page,
        "<section id=\"method.{id:05x}\" class=\"method\"><a class=\"src rightside\" href=\"../src/{id:05x}.html\">\
         Source</a><h4 class=\"code-header\"><a href=\"#method.{id:05x}\">"
    )?;
    for _ in 0..20 + random.below(80) {
        let rank = random.index(63).min(random.index(63));
        let word = &words[random.index(63 * (rank + 1))];
        match random.below(16) {
            0 => write!(page, "<code class=\"name\">{word}</code> "),
            1 => write!(page, "{word}</p>\n<div class=\"docblock\"><p>"),
            _ => write!(page, "{word} "),
        }?;
    }
    page.write_str("</p></div></section>\n")
}

/// Files and bytes below a folder.
pub fn measure(folder: &Path) -> io::Result<(u64, u64)> {
    let mut sum = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (files, bytes) =
            if entry.file_type()?.is_dir() { measure(&entry.path())? } else { (1, entry.metadata()?.len()) };
        sum = (sum.0 + files, sum.1 + bytes);
    }
    Ok(sum)
}

/// Fails with the first name at which two folders differ: in content, kind, time or permissions.
pub fn same(left: &Path, right: &Path) -> Result<(), String> {
    let fail = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let names = |folder: &Path| -> Result<Vec<_>, String> {
        let entries = fs::read_dir(folder).map_err(|error| fail(folder, &error))?;
        let mut names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()
            .map_err(|error| fail(folder, &error))?;
        names.sort();
        Ok(names)
    };
    let (here, there) = (names(left)?, names(right)?);
    if here != there {
        return Err(fail(right, &format!("{} entries, the source has {}", there.len(), here.len())));
    }
    for name in here {
        let (left, right) = (left.join(&name), right.join(&name));
        let meta = |path: &Path| path.symlink_metadata().map_err(|error| fail(path, &error));
        let (source, stored) = (meta(&left)?, meta(&right)?);
        if source.mode() != stored.mode() || source.mtime() != stored.mtime() {
            return Err(fail(&right, &"other permissions or another time"));
        }
        if source.is_dir() {
            same(&left, &right)?;
        } else if !same_content(&left, &right).map_err(|error| fail(&right, &error))? {
            return Err(fail(&right, &"other content"));
        }
    }
    Ok(())
}

/// Whether two files hold the same bytes.
pub fn same_content(left: &Path, right: &Path) -> io::Result<bool> {
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let len = left.metadata()?.len();
    if right.metadata()?.len() != len {
        return Ok(false);
    }
    let mut buffers = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut at = 0;
    while at < len {
        let piece = usize::try_from(len - at).unwrap_or(BUFFER).min(BUFFER);
        left.read_exact(&mut buffers.0[..piece])?;
        right.read_exact(&mut buffers.1[..piece])?;
        if buffers.0[..piece] != buffers.1[..piece] {
            return Ok(false);
        }
        at += piece as u64;
    }
    Ok(true)
}
