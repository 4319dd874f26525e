use super::*;
use proptest::prelude::*;
use std::ffi::OsStr;
use std::sync::LazyLock;

static ID: LazyLock<DocumentId> = LazyLock::new(|| 42.into());
static USER: LazyLock<UserId> = LazyLock::new(|| 7.into());

fn facts<'a>() -> DocumentFacts<'a> {
    DocumentFacts {
        date: NaiveDate::from_ymd_opt(2024, 1, 5),
        ..DocumentFacts::new(&ID, &USER, Path::new("/srv/up/2024/scan 1.pdf"))
    }
}

const FILE: FileFacts<'static> = FileFacts { below_root: None, modified: None };

fn file<'a>() -> FileFacts<'a> {
    FileFacts { below_root: Some(Path::new("2024/scan 1.pdf")), ..FILE }
}

fn name(layout: &str, facts: &DocumentFacts<'_>) -> Result<String> {
    name_with(layout, facts, &file())
}

fn name_with(layout: &str, facts: &DocumentFacts<'_>, file: &FileFacts<'_>) -> Result<String> {
    Layout::parse(layout)?.name_for(facts, file).map(|name| String::from_utf8(name.as_bytes().to_vec()).unwrap())
}

#[test]
fn each_layout_gives_its_name() {
    let facts = DocumentFacts { doc_type: Some("facture"), original_name: Some("Mai é.pdf"), ..facts() };
    for (layout, expected) in [
        ("flat", "scan 1.pdf"),
        ("tree", "2024/scan 1.pdf"),
        ("{path}", "2024/scan 1.pdf"),
        ("{name}", "Mai é.pdf"),
        ("{year}/{month}/{day}/{id}_{name}", "2024/01/05/42_Mai é.pdf"),
        ("u{user_id}/{type}/{id}", "u7/facture/42"),
        (".{id}", ".42"),
        ("user-{user_id}/{path}", "user-7/2024/scan 1.pdf"),
    ] {
        assert_eq!(name(layout, &facts).unwrap(), expected, "{layout}");
    }
}

#[test]
fn a_layout_that_cannot_work_is_refused_at_once() {
    for (layout, why) in [
        ("", "none of"),
        ("Flat", "none of"),
        ("{year}/scan.pdf", "none of"),
        ("{nom}", "{nom} is not known"),
        ("{}", "{} is not known"),
        ("{ID}", "{ID} is not known"),
        ("{id", "no } after"),
        ("id}", "no { before"),
        ("{{id}}", "not known"),
        ("/{name}", "starts with a slash"),
        ("{year}//{name}", "empty component"),
        ("{name}/", "empty component"),
        ("../{name}", "`..`"),
        ("./{name}", "`.`"),
        ("{id}\0", "NUL"),
    ] {
        let error = Layout::parse(layout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{layout}");
        assert!(error.message().contains(why), "{layout}: {error}");
        assert!(error.solution().contains("{id} {user_id} {year} {month} {day} {type} {name} {path}"));
    }
}

#[test]
fn the_day_comes_from_the_best_source() {
    let day = |day| NaiveDate::from_ymd_opt(2020, 2, day);
    let all = DocumentFacts { date: day(1), created: day(2), ..facts() };
    let layout = Layout::parse("{day}-{id}").unwrap();
    assert_eq!(name("{day}-{id}", &all).unwrap(), "01-42");
    assert_eq!(name("{day}-{id}", &DocumentFacts { date: None, ..all }).unwrap(), "02-42");
    assert!(!layout.needs_file_date(&DocumentFacts { date: None, ..all }));
    let none = DocumentFacts { date: None, created: None, ..all };
    assert!(layout.needs_file_date(&none) && !Layout::parse("{id}").unwrap().needs_file_date(&none));
    let modified = FileFacts { modified: day(3), ..file() };
    assert_eq!(name_with("{day}-{id}", &none, &modified).unwrap(), "03-42");
    let error = name("{day}-{id}", &none).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NameUnsendable);
    assert!(error.message().contains("{day}") && error.message().contains("created_at"), "{error}");
    let far = DocumentFacts { date: NaiveDate::from_ymd_opt(12024, 1, 1), ..all };
    assert_eq!(name("{year}-{id}", &far).unwrap_err().kind(), ErrorKind::NameUnsendable);
}

#[test]
fn a_date_that_is_not_understood_is_not_filed_under_another() {
    let odd = DocumentFacts { odd_date: Some(("date", "03.02.24")), ..facts() };
    let error = name("{year}/{id}", &odd).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NameUnsendable);
    assert!(error.message().contains("date is \"03.02.24\"") && error.solution().contains("YYYY-MM-DD"), "{error}");
    assert_eq!(name("{id}", &odd).unwrap(), "42");
}

#[test]
fn rsyncs_own_folder_is_no_name() {
    let facts = DocumentFacts { original_name: Some(".rsync-partial"), ..facts() };
    assert_eq!(name("{name}", &facts).unwrap_err().kind(), ErrorKind::NameUnsendable);
    assert_eq!(name("{name}/{id}", &facts).unwrap_err().kind(), ErrorKind::NameUnsendable);
    assert!(name("a{name}", &facts).is_ok());
}

#[test]
fn the_type_falls_back_and_is_never_guessed() {
    let mime = DocumentFacts { doc_type: Some(""), file_type: Some("application/pdf"), ..facts() };
    assert_eq!(name("{type}/{id}", &mime).unwrap(), "application_pdf/42");
    let error = name("{type}/{id}", &facts()).unwrap_err();
    assert!(error.message().contains("doc_type"), "{error}");
}

#[test]
fn a_value_never_makes_a_folder() {
    for (original, expected) in [
        ("../../etc/passwd", "7/passwd"),
        ("C:\\Users\\me\\scan.pdf", "7/scan.pdf"),
        ("a\nb\x1b[2J\0.pdf", "7/a_b_[2J_.pdf"),
        ("dir/", "7/scan 1.pdf"),
        ("-rf", "7/-rf"),
    ] {
        let facts = DocumentFacts { original_name: Some(original), ..facts() };
        assert_eq!(name("{user_id}/{name}", &facts).unwrap(), expected);
    }
    for bad in ["..", "."] {
        let facts = DocumentFacts { original_name: Some(bad), ..facts() };
        assert_eq!(name("{user_id}/{name}", &facts).unwrap_err().kind(), ErrorKind::NameUnsendable);
        let facts = DocumentFacts { doc_type: Some(bad), ..facts };
        assert_eq!(name("{type}/{id}", &facts).unwrap_err().kind(), ErrorKind::NameUnsendable);
    }
}

#[test]
fn bytes_of_file_names_survive() {
    let path = Path::new(OsStr::from_bytes(b"sub/caf\xe9\n-\x1b.pdf"));
    let facts = DocumentFacts { path, ..facts() };
    let file = FileFacts { below_root: Some(path), ..FILE };
    let of = |layout| Layout::parse(layout).unwrap().name_for(&facts, &file).unwrap().into_bytes();
    assert_eq!(*of("flat"), *b"caf\xe9\n-\x1b.pdf");
    assert_eq!(*of("tree"), *b"sub/caf\xe9\n-\x1b.pdf");
    assert_eq!(*of("{id}/{name}"), *b"42/caf\xe9\n-\x1b.pdf");
}

#[test]
fn components_end_at_255_bytes() {
    let fits = "a".repeat(252);
    let facts = DocumentFacts { original_name: Some(&fits), ..facts() };
    assert_eq!(name("{id}_{name}", &facts).unwrap().len(), 255);
    assert_eq!(name("{id}__{name}", &facts).unwrap_err().kind(), ErrorKind::NameUnsendable);
}

#[test]
fn paths_need_the_upload_folder() {
    for layout in ["tree", "{id}/{path}"] {
        assert!(Layout::parse(layout).unwrap().needs_root());
        assert_eq!(name_with(layout, &facts(), &FILE).unwrap_err().kind(), ErrorKind::Usage);
    }
    assert!(!Layout::parse("{id}/{name}").unwrap().needs_root());
    let nameless = DocumentFacts { path: Path::new("a/.."), ..facts() };
    assert_eq!(name("flat", &nameless).unwrap_err().kind(), ErrorKind::NameUnsendable);
}

proptest! {
    #[test]
    fn values_add_no_slash(
        original in proptest::option::of("\\PC{0,12}|[./\\\\a\n]{0,8}"),
        doc_type in proptest::option::of("\\PC{0,12}|[./\\\\a\n]{0,8}"),
        id in any::<i64>(), user_id in any::<i64>(),
    ) {
        let facts = DocumentFacts {
            id: &id.into(), user_id: &user_id.into(), original_name: original.as_deref(), doc_type: doc_type.as_deref(), ..facts()
        };
        let layout = Layout::parse("{year}/{user_id}/{type}/{id} {name}").unwrap();
        if let Ok(name) = layout.name_for(&facts, &file()) {
            prop_assert_eq!(name.parents().count(), 3);
            prop_assert!(!name.as_bytes().iter().any(u8::is_ascii_control));
        }
    }

    #[test]
    fn no_template_panics(template in "[{}a-z_./]{0,20}|(\\{(id|name|year|path|x)\\}|[./ab]){0,5}") {
        if let Ok(layout) = Layout::parse(&template) {
            // What parses gives a name for ordinary facts.
            let facts = DocumentFacts { doc_type: Some("t"), ..facts() };
            prop_assert!(layout.name_for(&facts, &file()).is_ok(), "{}", template);
        }
    }
}
