//! The NAS that people have: by what each is recognised, and what its own pages call what has to be switched.
//!
//! All of this is what others report of them, and was not tried here: a hint says "often", is never needed, and comes last.

use super::login::Client;
use super::survey;
use crate::error::{ErrorKind, NasSyncError};

/// One kind of NAS.
#[derive(Debug, PartialEq, Eq)]
pub struct Vendor {
    /// What it is called.
    pub name: &'static str,
    /// A condition of a plain shell that holds on it alone. It only looks.
    pub mark: &'static str,
    /// Where its shares usually lie.
    pub roots: &'static str,
    /// Where it shows its host key.
    pub host_key: &'static str,
    /// How SSH is switched on, and who may use it.
    pub ssh: &'static str,
    /// How its rsync is switched on.
    pub rsync: &'static str,
    /// How users get home folders.
    pub home: &'static str,
    /// How a public key is let in by its pages; `None`: by the usual file only.
    pub key: Option<&'static str>,
}

/// All that are known. The first whose mark is found counts.
pub const VENDORS: [Vendor; 6] = [
    Vendor {
        name: "Synology DSM",
        mark: "[ -e /etc/synoinfo.conf ]",
        roots: "/volume1/SHARE",
        host_key: "a session of an administrator: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        ssh: "Control Panel, Terminal & SNMP: Enable SSH service; DSM lets administrators log in only",
        rsync: "Control Panel, File Services, rsync: Enable rsync service; User & Group, Edit, Applications: allow rsync; NAS_PORT is the port that the rsync page shows; the folder lies in a shared folder",
        home: "Control Panel, User & Group, Advanced: Enable user home service",
        key: None,
    },
    // Before QNAP: tools for one have been seen to leave the other's file there.
    Vendor {
        name: "Unraid",
        mark: "[ -e /etc/unraid-version ]",
        roots: "/mnt/user/SHARE",
        host_key: "its terminal: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        ssh: "Settings, Management Access: Use SSH; it lets root log in only",
        rsync: "rsync comes with it, and needs no service",
        home: "root's home is made anew at each start; keys are kept by the page of the user",
        key: Some("Users, root: \"SSH authorized keys\""),
    },
    Vendor {
        name: "QNAP",
        mark: "[ -e /etc/config/uLinux.conf ]",
        roots: "/share/SHARE",
        host_key: "a session of an administrator: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        ssh: "Control Panel, Network & File Services, Telnet/SSH: Allow SSH connection; Edit Access Permission names who may",
        rsync: "HBS 3 Hybrid Backup Sync, Rsync Server, or the rsync of the system, which is often there without it",
        home: "Control Panel, Privilege, Users: Home Folder",
        key: None,
    },
    Vendor {
        name: "TrueNAS",
        mark: "[ -e /usr/bin/midclt ] || [ -e /usr/local/bin/midclt ]",
        roots: "/mnt/POOL/DATASET",
        host_key: "System, Shell: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        ssh: "System, Services: SSH; Credentials, Users, Edit: a Shell, and SSH access",
        rsync: "rsync comes with it; over SSH the Rsync service is not needed",
        home: "Credentials, Users, Edit: Home Directory, on a dataset",
        key: Some("Credentials, Users, Edit: \"SSH Public Key\" (\"Authorized Keys\"); Services: SSH on"),
    },
    Vendor {
        name: "OpenMediaVault",
        mark: "[ -e /etc/openmediavault/config.xml ]",
        roots: "/srv/dev-disk-by-uuid-…/SHARE, or /sharedfolders/SHARE",
        host_key: "its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        ssh: "Services, SSH: Enabled, Public key authentication; Users: the group _ssh (or ssh), and a shell",
        rsync: "rsync comes with it; over SSH the Rsync service is not needed",
        home: "Users, Settings: User home directory",
        key: Some("Users, Edit, Public keys: it takes the form that `ssh-keygen -e -f KEY.pub` prints"),
    },
    Vendor {
        name: "Asustor ADM",
        mark: "grep -qs ASUSTOR /etc/nas.conf",
        roots: "/volume1/SHARE",
        host_key: "a session of an administrator: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        ssh: "Services, Terminal: Enable SSH service; ADM lets administrators log in only",
        rsync: "Services, Rsync Server: Enable",
        home: "Access Control, Local Users: the home folder of the user, on a volume",
        key: None,
    },
];

impl Vendor {
    /// How a key is let in there by hand, for people.
    pub fn by_hand(&self, key_file: &str) -> String {
        let key = self.key.map_or_else(|| String::from("then the lines above"), |key| key.replace("KEY", key_file));
        let rows = [
            ("SSH", self.ssh),
            ("host key", self.host_key),
            ("home", self.home),
            ("key", &key),
            ("rsync", self.rsync),
            ("folder", self.roots),
        ];
        let rows = rows.map(|(what, how)| format!("    {what:<9}{how}\n"));
        format!("  {}\n{}", self.name, rows.concat())
    }

    /// What to look at on its pages when this went wrong.
    fn place_for(&self, kind: ErrorKind) -> Option<&'static str> {
        match kind {
            ErrorKind::ExecRefused | ErrorKind::StrayOutput => Some(self.ssh),
            ErrorKind::ServiceDisabled | ErrorKind::RsyncMissing => Some(self.rsync),
            ErrorKind::KeyNotInstalled => Some(self.home),
            ErrorKind::DestinationMissing => Some(self.roots),
            _ => None,
        }
    }
}

/// The same error, with what it often means on this kind of NAS.
pub fn advise(error: NasSyncError, vendor: Option<&Vendor>) -> NasSyncError {
    let place = vendor.and_then(|vendor| Some((vendor.name, vendor.place_for(error.kind())?)));
    let Some((name, place)) = place else { return error };
    let what = if error.kind() == ErrorKind::DestinationMissing { "shares often lie at" } else { "look at" };
    let solution = format!("{} This NAS looks like {name}; there, {what}: {place}.", error.solution());
    error.with_solution(solution)
}

/// The same for who has not looked yet, and only where it could help.
pub(crate) async fn advise_over(error: NasSyncError, client: &Client) -> NasSyncError {
    if VENDORS.iter().all(|vendor| vendor.place_for(error.kind()).is_none()) {
        return error;
    }
    let vendor = survey::vendor(client).await;
    advise(error, vendor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_comes_behind_the_usual_solution_and_only_where_there_is_one() {
        let error = || NasSyncError::new(ErrorKind::ServiceDisabled, "x").with_solution("Do this.");
        let advised = advise(error(), Some(&VENDORS[0]));
        assert!(advised.solution().starts_with("Do this. This NAS looks like Synology DSM; there, look at: "));
        assert!(advised.solution().contains("Enable rsync service"));
        assert_eq!(advise(error(), None).solution(), "Do this.");
        let other = NasSyncError::new(ErrorKind::DiskFull, "x");
        assert_eq!(advise(other, Some(&VENDORS[0])).solution(), ErrorKind::DiskFull.solution());
    }
}
