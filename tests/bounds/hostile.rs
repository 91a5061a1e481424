//! Files made to be expensive to read: each is refused, for what it is, before it has cost much.

use fleet::spec::Syntax;

use super::{Desk, LONGEST, MEMORY_MAX, hold};

#[test]
fn hostile_files_are_refused_soon() {
    let bomb = (1..30).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        text + &format!("a{i}: &a{i} [{list}]\n")
    });
    let cases: Vec<(Syntax, String, &str)> = vec![
        (Syntax::Yaml, bomb, "fleet::yaml_aliases"),
        (Syntax::Yaml, "[".repeat(100_000), "fleet::too_deep"),
        (Syntax::Yaml, (0..200).map(|i| " ".repeat(i) + "a:\n").collect(), "fleet::too_deep"),
        (Syntax::Yaml, "a: &a [*a]\n".into(), "fleet::yaml_alias"),
        (Syntax::Json, "[".repeat(100_000), "fleet::too_deep"),
        (Syntax::Json, "{\"a\":".repeat(100) + "1" + &"}".repeat(100), "fleet::too_deep"),
        (Syntax::Toml, "a = ".to_owned() + &"[".repeat(100_000), "fleet::too_deep"),
        (Syntax::Toml, format!("{} = 1\n", vec!["a"; 70].join(".")), "fleet::too_deep"),
        (Syntax::Toml, "x".repeat((16 << 20) + 1), "fleet::file_too_large"),
    ];
    let desk = Desk::new();
    for (syntax, text, code) in cases {
        let (checked, cost) = desk.check(syntax, text.as_bytes());
        let head: String = text.chars().take(60).collect();
        let what = format!("{syntax:?} {head}");
        let Err((problems, map)) = checked else { panic!("{what} is taken") };
        assert_eq!(problems[0].code, code, "{what}: {problems:?}");
        assert!(cost.time < LONGEST && cost.peak < MEMORY_MAX, "{what}: {cost:?}");
        hold(&problems, &map, &what);
    }
}
