//! What is known of a symlink by its target alone.

/// What makes a symlink lead nowhere, in front of its target.
pub const MUNGED: &[u8] = b"/rsyncd-munged/";

/// Whether a symlink of this name, below the root of what is sent, leads out of it, by rsync's reading: it is absolute or empty, or it
/// climbs further up than its name goes down, or it climbs anywhere but at its beginning.
pub fn leads_outside(target: &[u8], name: &[u8]) -> bool {
    if matches!(target.first(), None | Some(b'/')) {
        return true;
    }
    let parts = || target.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
    let climbs = parts().take_while(|part| *part == b"..").count();
    if parts().skip(climbs).any(|part| part == b"..") {
        return true;
    }
    let depth = name.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").count();
    climbs >= depth.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_climbs_too_far_leads_outside() {
        for (target, name, expected) in [
            ("/etc", "l", true),
            ("", "l", true),
            ("a/b", "l", false),
            ("../a", "l", true),
            ("../a", "d/l", false),
            ("../../a", "d/l", true),
            ("..", "d/l", false),
            ("a/../b", "l", true),
            ("a/..", "l", true),
            ("./a", "l", false),
            ("..//a", "d/l", false),
        ] {
            assert_eq!(leads_outside(target.as_bytes(), name.as_bytes()), expected, "{target} at {name}");
        }
    }
}
