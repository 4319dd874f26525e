//! What `df -Pk` says.

/// How much room a file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What the NAS user may still fill.
    pub available: u64,
}

impl Space {
    /// Whether so little is left that a person should know: less than 1 GiB, or on something small less than a
    /// twentieth of it. A part alone would call a terabyte of a large NAS little.
    pub fn is_little(self) -> bool {
        self.available < (self.total / 20).min(1 << 30)
    }
}

/// Reads the table of `df -Pk`: the last line that has figures, in whatever language its header is. A long device name
/// may stand on a line of its own, and device and folder may hold blanks. `None` where there are no figures.
pub(super) fn parse_df(output: &[u8]) -> Option<Space> {
    let output = String::from_utf8_lossy(output);
    let words: Vec<Vec<&str>> = output.lines().map(|line| line.split_whitespace().collect()).collect();
    let (total, available) = words.iter().rev().find_map(|words| figures(words))?;
    // A dash is a figure too, and says that nobody knows.
    Some(Space { total: bytes(total)?, available: bytes(available)? })
}

/// The total and what is available, out of total, used, available and percentage in front of the folder's name.
fn figures<'l>(words: &[&'l str]) -> Option<(&'l str, &'l str)> {
    words.windows(4).find_map(|window| {
        let &[total, used, available, share] = window else { return None };
        let is_number = |word: &str| word == "-" || word.parse::<i64>().is_ok();
        let is_share = share == "-" || share.strip_suffix('%').is_some_and(|digits| digits.parse::<f64>().is_ok());
        let are_figures = is_number(total) && is_number(used) && is_number(available) && is_share;
        are_figures.then_some((total, available))
    })
}

/// Kilobytes as bytes. Where more is in use than ordinary users may fill, some systems count below nothing.
fn bytes(kilobytes: &str) -> Option<u64> {
    let kilobytes: i64 = kilobytes.parse().ok()?;
    u64::try_from(kilobytes.max(0)).ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available(output: &str) -> Option<u64> {
        parse_df(output.as_bytes()).map(|space| space.available / 1024)
    }

    #[test]
    fn tables_of_many_systems_are_read() {
        let plain =
            "Filesystem     1024-blocks  Used Available Capacity Mounted on\n/dev/md2  100 40 60 40% /volume1\n";
        assert_eq!(parse_df(plain.as_bytes()), Some(Space { total: 102_400, available: 61_440 }));
        let french = "Sys. de fichiers blocs de 1024 Utilisé Disponible Capacité Monté sur\n/dev/md2 9 4 5 45% /a b\n";
        assert_eq!(available(french), Some(5));
        let wrapped = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                       nas.example.org:/export/a/very/long/name\n                 100 40 60 40% /mnt\n";
        assert_eq!(available(wrapped), Some(60));
        assert_eq!(available("map auto 1 1000 400 600 40% /a 1 2 3 4% b\n"), Some(600));
        assert_eq!(available("a 1 1 1 50% /one\nb 2 2 2 50% /two\n\n"), Some(2));
        assert_eq!(available("hello 1 2 3\n/dev/da0 100 120 -20 120% /\ndf: a warning\n"), Some(0));
    }

    #[test]
    fn what_is_no_figure_is_no_answer() {
        assert_eq!(available(""), None);
        assert_eq!(available("This account is restricted.\n"), None);
        assert_eq!(available("overlay - - - - /\n"), None);
        assert_eq!(available("a 1 1 1 50% /\noverlay - - - - /\n"), None);
        assert_eq!(available(&format!("a {0} 1 {0} 50% /\n", i64::MAX)), None);
        assert_eq!(parse_df(b"\xff\xfe \xff 1 2"), None);
    }
}
