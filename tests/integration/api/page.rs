//! The page, in a real browser.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;

use super::{Place, Serve, gated};
use crate::support::browser::{Browser, Look};
use crate::support::{Cli, Site, noise};

/// A name that would be markup if anybody took it for that.
const HOSTILE: &str = "<img src=x onerror=document.title='taken'> & \"n° 1\".pdf";

pub(super) fn address(serve: &Serve) -> String {
    let Place::Address(address) = &serve.place else { panic!("a socket") };
    format!("http://{address}/")
}

/// Where pictures go, when somebody wants them.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("NAS_SYNC_PICTURES").map(PathBuf::from)
}

/// The button with this text, pressed.
pub(super) fn click(browser: &mut Browser, text: &str) {
    let find = format!(
        "[...document.querySelectorAll('button')].find(button => button.innerText === {text:?} && !button.disabled)"
    );
    browser.until(&find);
    browser.evaluate(&format!("{find}.click()"));
}

#[test]
fn a_run_is_shown_as_it_happens_to_whoever_has_the_token() {
    let Some(mut browser) = Browser::start(Look::DESKTOP, &[]) else { return };
    let (site, gate) = gated();
    let mut cli = Cli::new(&site);
    cli.set("NAS_API_TOKEN", "a-long-and-secret-token");
    cli.add(7, &[site.upload("Facture 2024-01.pdf", &noise(80_000, 1)), site.upload(HOSTILE, b"x")]);
    let serve = Serve::start(&cli);
    browser.go(&address(&serve));
    // The token is asked for; a wrong one is told.
    browser.until("!document.querySelector('#ask').hidden");
    assert!(!browser.text().contains("pdf"));
    for token in ["wrong", "a-long-and-secret-token"] {
        browser.until("document.activeElement.id === 'token'");
        browser.write(token);
        browser.press("Enter");
        if token == "wrong" {
            browser.until("document.querySelector('#ask-wrong').checkVisibility()");
            browser.evaluate("document.querySelector('#token').value = ''; document.querySelector('#token').focus()");
        }
    }
    browser.until("document.querySelector('h1').innerText === 'Everything is on the NAS'");
    // How much room there is, is asked behind a run.
    browser.until("document.body.innerText.includes('free of')");
    let text = browser.text();
    assert!(text.contains("Last sent") && text.contains("free of") && text.contains(HOSTILE), "{text}");
    assert_eq!(browser.evaluate("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.evaluate("document.title"), "Everything is on the NAS – nas-sync");

    fs::write(&gate, "").unwrap();
    let paths: Vec<_> = (2..40).map(|n| site.upload(&format!("Facture 2024-{n:02}.pdf"), &noise(60_000, n))).collect();
    cli.add(7, &paths);
    browser.until("document.querySelector('h1').innerText === 'Sending 0 of 38'");
    browser.until("document.querySelector('progress').checkVisibility()");
    fs::remove_file(&gate).unwrap();
    browser.until("document.querySelector('h1').innerText === 'Everything is on the NAS'");
    browser.until("document.querySelectorAll('li').length === 40");
    assert_eq!(browser.evaluate("document.querySelector('progress').checkVisibility()"), false);
    // A search, by keyboard.
    browser.evaluate("document.querySelector('#search').focus()");
    browser.write("onerror");
    browser.until("document.querySelectorAll('li').length === 1");
    browser.press("Tab");
    assert_eq!(browser.evaluate("document.activeElement.innerText"), "All");
    // The token stays in the tab, also over a reload.
    browser.go(&address(&serve));
    browser.until("document.querySelectorAll('li').length === 40");
    let complaints: Vec<_> = browser.complaints().into_iter().filter(|text| !text.contains("401")).collect();
    assert_eq!(complaints, [] as [String; 0]);
    serve.stop();
}

#[test]
fn a_failure_is_shown_with_its_remedy_and_is_mended_from_the_page() {
    let Some(mut browser) = Browser::start(Look::TELEPHONE, &[]) else { return };
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("Reçu n° 12.pdf", b"x")]);
    let missing = site.path("uploads/Facture perdue.pdf");
    site.insert(&missing);
    let serve = Serve::start(&cli);
    browser.go(&address(&serve));
    browser.until("document.querySelector('h1').innerText === '1 document sera réessayé'");
    browser.until("document.querySelector('.why')");
    let text = browser.text();
    assert!(
        text.contains("Que faire") && text.contains("Facture perdue.pdf") && text.contains("No such file"),
        "{text}"
    );
    assert!(text.contains("Le fichier du document n’est pas là") && text.contains("Remettre le fichier"), "{text}");
    assert!(!text.contains("Restore the file"), "English is a click away: {text}");
    browser.evaluate("document.querySelector('.why summary').click()");
    browser.until("document.querySelector('.why details').innerText.includes('Restore the file')");
    let english = browser.evaluate("document.querySelector('.why strong').lang");
    assert_eq!((english, browser.evaluate("document.documentElement.lang")), ("en".into(), "fr".into()));
    // Nothing is wider than the telephone, all that can be pressed has a name and is large enough for a thumb.
    let wide = browser.evaluate("document.documentElement.scrollWidth - innerWidth");
    assert!(wide.as_i64().is_some_and(|pixels| pixels <= 0), "{wide}");
    let small = "[...document.querySelectorAll('button, input')].filter(it => it.checkVisibility() && \
        (it.getBoundingClientRect().height < 36 || !(it.getAttribute('aria-label') || it.innerText || it.labels?.length)))";
    assert_eq!(browser.evaluate(&format!("{small}.length")), 0);
    if let Some(folder) = pictures() {
        browser.picture(&folder.join("failure-fr-dark.png"));
    }
    site.upload("Facture perdue.pdf", b"found");
    click(&mut browser, "Réessayer");
    browser.until("document.querySelector('h1').innerText === 'Tout est sur le NAS'");
    assert_eq!(site.stored("Facture perdue.pdf"), Some(b"found".to_vec()));
    // And one that changed goes again.
    site.upload("Facture perdue.pdf", b"changed");
    click(&mut browser, "Renvoyer");
    browser.until("document.querySelector('#said').innerText === 'Il sera renvoyé.'");
    click(&mut browser, "Synchroniser");
    browser.until("document.querySelector('#said').innerText.includes('envoyés')");
    assert_eq!(site.stored("Facture perdue.pdf"), Some(b"changed".to_vec()));
    click(&mut browser, "Tester la connexion");
    browser.until("document.querySelector('#said').innerText.startsWith('Le NAS fonctionne : enregistré durablement')");
    assert_eq!(browser.complaints(), [] as [String; 0]);
    // When the service ends, the page says so.
    serve.stop();
    browser.until("document.querySelector('h1').innerText === 'Le service ne répond pas'");
}

#[test]
fn a_nas_that_refuses_is_explained_and_the_page_is_whole_by_day_and_night() {
    let Some(mut browser) = Browser::start(Look { language: "de-DE", ..Look::DESKTOP }, &[]) else { return };
    let site = Site::new();
    fs::rename(site.sshd.path("authorized_keys"), site.sshd.path("saved")).unwrap();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    browser.go(&address(&serve));
    browser.until("document.querySelector('h1').innerText === 'The service needs you'");
    browser.until("document.querySelector('#trouble').innerText.includes('authorized_keys')");
    let contrast = |browser: &mut Browser| {
        browser.evaluate(
            "getComputedStyle(document.body).color !== getComputedStyle(document.documentElement).backgroundColor",
        )
    };
    assert_eq!(contrast(&mut browser), true);
    let day = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor");
    browser.look(Look { scheme: "dark", language: "de-DE", ..Look::DESKTOP });
    assert_ne!(browser.evaluate("getComputedStyle(document.documentElement).backgroundColor"), day);
    fs::rename(site.sshd.path("saved"), site.sshd.path("authorized_keys")).unwrap();
    click(&mut browser, "Try failed ones again");
    browser.until("document.querySelector('h1').innerText === 'Everything is on the NAS'");
    assert_eq!(browser.complaints(), [] as [String; 0]);
    serve.stop();
}

#[test]
fn a_page_of_another_origin_gets_nothing_and_does_nothing() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("secret name.pdf", b"x")]);
    let serve = Serve::start(&cli);
    let Place::Address(own) = &serve.place else { panic!("a socket") };
    let (ip, port) = own.split_once(':').unwrap();
    let rules = format!("--host-resolver-rules=MAP evil.example {ip}");
    let Some(mut browser) = Browser::start(Look::DESKTOP, &[&rules]) else { return };
    crate::support::until("it is sent", super::LONGEST, || site.marked().len() == 1);
    let evil = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let evil_port = evil.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in evil.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<p>welcome</p>",
            );
        }
    });
    browser.go(&format!("http://127.0.0.1:{evil_port}/"));
    let attack = format!(
        "(async () => {{
            const got = [];
            for (const mode of ['cors', 'no-cors']) for (const [method, path] of
                [['GET', 'sync/documents'], ['GET', 'sync/status'], ['POST', 'sync/resend/1'], ['GET', 'openapi.json'], ['GET', '']]) {{
                try {{ got.push((await (await fetch('http://{own}/' + path, {{ method, mode }})).text())); }} catch (error) {{ got.push(''); }}
            }}
            const frame = document.createElement('iframe');
            frame.src = 'http://{own}/';
            document.body.append(frame);
            await new Promise(resolve => {{ frame.onload = resolve; setTimeout(resolve, 3000); }});
            let inside = null;
            try {{ inside = frame.contentDocument && frame.contentDocument.body.innerText; }} catch (error) {{ }}
            const form = document.createElement('form');
            form.method = 'POST';
            form.action = 'http://{own}/sync/resend/1';
            form.target = 'other';
            const window_ = document.createElement('iframe');
            window_.name = 'other';
            document.body.append(form, window_);
            form.submit();
            await new Promise(resolve => {{ window_.onload = resolve; setTimeout(resolve, 3000); }});
            return got.join('') + (inside || '');
        }})()"
    );
    assert_eq!(browser.evaluate(&attack), "");
    assert_eq!(site.marked().len(), 1, "nothing was made pending");
    // A name that was made to lead here.
    browser.go(&format!("http://evil.example:{port}/"));
    let text = browser.text();
    assert!(text.contains("not_allowed") && !text.contains("NAS_API_TOKEN)"), "{text}");
    // Its own origin it is, and a link to it may be followed.
    browser.go(&address(&serve));
    browser.until("document.querySelectorAll('li').length === 1");
    serve.stop();
}
