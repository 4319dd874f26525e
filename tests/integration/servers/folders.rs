//! Folders on the NAS that were there before: with `-K` and `-O`, and where a wrapper refuses those.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::SystemTime;

use super::server::{Account, Rsync, Server, give_to_nas_user};
use crate::support::{Cli, skip};

#[test]
fn folders_that_exist_stay_as_they_are_whatever_the_server_refuses() {
    let refusing = |aloud| Server::default().rsync(Rsync::Refuses { option: "-K", aloud });
    let rrsync = Server::default().account(Account::Rrsync("-wo"));
    for server in [Server::default(), rrsync, refusing(true), refusing(false)] {
        let mut nas = match server.start() {
            Ok(nas) => nas,
            Err(reason) => return skip(&reason),
        };
        nas.site.set("UPLOAD_DIR", nas.site.path("uploads"));
        nas.site.set("NAS_LAYOUT", "tree");
        fs::create_dir(nas.share.join("2023")).unwrap();
        give_to_nas_user(&nas.share.join("2023"));
        symlink("2023", nas.share.join("2024")).unwrap();
        fs::set_permissions(nas.share.join("2023"), fs::Permissions::from_mode(0o750)).unwrap();
        let names = ["2023/a.pdf", "2024/b.pdf", "2025/01/c.pdf"];
        let cli = Cli::new(&nas.site);
        cli.add(1, &names.map(|name| nas.site.upload(name, name.as_bytes())));
        let run = cli.line("sync --json");
        assert_eq!(run.ends(0).json()["synced"], 3, "{server:?}: {}", run.all());
        for name in names {
            assert_eq!(fs::read(nas.share.join(name)).unwrap(), name.as_bytes(), "{server:?}");
        }
        let [old, new] = ["2023", "2025/01"].map(|name| fs::metadata(nas.share.join(name)).unwrap());
        assert!(nas.share.join("2024").is_symlink(), "{server:?}: a symlink was replaced");
        assert_eq!(old.mode() & 0o7777, 0o750, "{server:?}");
        assert_eq!(new.mode() & 0o7777, 0o755, "{server:?}");
        // A folder has the time at which a file was made in it, not one that came with the documents.
        let age = SystemTime::now().duration_since(old.modified().unwrap()).unwrap_or_default();
        assert!(age.as_secs() < 3600, "{server:?}: {age:?}");
        assert_eq!(cli.line("verify --json").ends(0).json()["equal"], 3, "{server:?}");
    }
}
