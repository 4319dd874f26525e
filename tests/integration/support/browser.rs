//! Debian's chromium without a window, driven over its DevTools protocol: JSON with a NUL behind it, through two pipes.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::skip;

/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(60);

/// One browser with one page.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// What was told and not asked for.
    events: VecDeque<Value>,
    last: u64,
    session: String,
    _profile: TempDir,
}

/// How somebody looks at a page.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub scheme: &'static str,
    pub language: &'static str,
}

impl Look {
    pub const DESKTOP: Self = Self { width: 1100, height: 900, scheme: "light", language: "en-GB" };
    pub const TELEPHONE: Self = Self { width: 390, height: 844, scheme: "dark", language: "fr-FR" };
}

impl Browser {
    /// Starts it; `None` where there is none, which a build machine does not forgive.
    pub fn start(look: Look, flags: &[&str]) -> Option<Self> {
        if Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            skip("there is no chromium");
            return None;
        }
        let profile = tempfile::tempdir().expect("a folder");
        // The browser speaks on its descriptors 3 and 4.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null", "sh"])
            .args(["--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"])
            .args(["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(flags)
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let output = child.stdout.take().expect("a pipe");
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { return };
                if sender.send(serde_json::from_slice(&message).expect("JSON")).is_err() {
                    return;
                }
            }
        });
        let commands = child.stdin.take().expect("a pipe");
        let session = String::new();
        let events = VecDeque::new();
        let mut browser = Self { child, commands, messages, events, last: 0, session, _profile: profile };
        browser.open(look);
        Some(browser)
    }

    fn open(&mut self, look: Look) {
        let target = self.command("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.command("Target.attachToTarget", &attach);
        attached["sessionId"].as_str().expect("a session").clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log"] {
            self.command(&format!("{domain}.enable"), &json!({}));
        }
        self.look(look);
    }

    /// Changes how it looks at pages.
    pub fn look(&mut self, look: Look) {
        let Look { width, height, scheme, language } = look;
        let phone = width < 600;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": phone });
        self.command("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command("Emulation.setEmulatedMedia", &json!({ "features": features }));
        let agent = json!({ "userAgent": "Mozilla/5.0 (test)", "acceptLanguage": language });
        self.command("Emulation.setUserAgentOverride", &agent);
    }

    /// Sends a command and gives its result.
    #[track_caller]
    pub fn command(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if !self.session.is_empty() && !method.starts_with("Target.") {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser lives");
        loop {
            let message = self.messages.recv_timeout(LONGEST).unwrap_or_else(|_| panic!("{method}: no answer"));
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    /// Goes to an address and waits until it is there.
    pub fn go(&mut self, address: &str) {
        self.command("Page.navigate", &json!({ "url": address }));
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// What an expression gives.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.command("Runtime.evaluate", &parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let started = Instant::now();
        while self.evaluate(&format!("Boolean({expression})")) != true {
            if started.elapsed() > LONGEST {
                let text = self.evaluate("document.body.innerText");
                panic!("{expression}: not so after {LONGEST:?}; the page says {text}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that is to be read on the page.
    pub fn text(&mut self) -> String {
        self.evaluate("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key as a person does.
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            " " => " ",
            _ => "",
        };
        let code = if key == "Tab" { 9 } else { 13 };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.command("Input.dispatchKeyEvent", &event);
        }
    }

    /// Types into what has the focus.
    pub fn write(&mut self, text: &str) {
        self.command("Input.insertText", &json!({ "text": text }));
    }

    /// Exceptions of scripts, and what the browser refused or complained about, so far.
    pub fn complaints(&mut self) -> Vec<String> {
        // What has been told by now is behind an answer.
        self.evaluate("0");
        let kinds = ["Runtime.exceptionThrown", "Log.entryAdded"];
        let told = self.events.drain(..).filter(|event| kinds.iter().any(|kind| event["method"] == *kind));
        told.map(|event| event["params"].to_string()).collect()
    }

    /// Writes a picture of the page.
    pub fn picture(&mut self, path: &Path) {
        let shot = self.command("Page.captureScreenshot", &json!({ "format": "png" }));
        let data = shot["data"].as_str().expect("a picture");
        let script = "import sys,base64;open(sys.argv[1],'wb').write(base64.b64decode(sys.stdin.read()))";
        let mut child =
            Command::new("python3").args(["-c", script]).arg(path).stdin(Stdio::piped()).spawn().expect("python3");
        child.stdin.take().expect("a pipe").write_all(data.as_bytes()).expect("it is taken");
        assert!(child.wait().expect("python3 ends").success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers are in its group.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}
