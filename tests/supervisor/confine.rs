//! What holds a task, attacked from inside of it.

use std::fs;

use fleet::supervisor::frame::{Confine, Layer, Spawn};

use super::world::{Engine, sh};

fn boxed(engine: &Engine, layer: Layer, script: &str) -> Spawn {
    let work = engine.dir.path().join("work");
    fs::create_dir_all(&work).unwrap();
    let work = work.display().to_string();
    let confine = Confine {
        read: Some(Vec::new()),
        write: vec![work.clone()],
        network: false,
        private: Some(engine.dir.path().join("private").display().to_string()),
        layers: vec![layer],
    };
    Spawn { cwd: work, confine: Some(Box::new(confine)), ..sh(script) }
}

#[test]
fn skeleton() {
    let mut engine = Engine::start();
    for layer in [Layer::Bubblewrap, Layer::Landlock] {
        let begin = std::time::Instant::now();
        let spawn = boxed(
            &engine,
            layer,
            "id; pwd; ls /; ls /root /etc/shadow; cat /etc/shadow | head -1; env; ps; echo x > y; cat y; kill -9 $$",
        );
        let heard = engine.run(1, &spawn);
        println!("{layer:?} {:?}\n{}\n{:?} {:?}", begin.elapsed(), heard.text(), heard.exited, heard.not_started);
        for _ in 0..3 {
            let begin = std::time::Instant::now();
            let spawn = boxed(&engine, layer, "exit 42");
            let heard = engine.run(1, &spawn);
            println!("{layer:?} {:?}\n{}\n{:?} {:?}", begin.elapsed(), heard.text(), heard.exited, heard.not_started);
        }
    }
}
