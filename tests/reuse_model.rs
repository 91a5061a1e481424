//! Reuse against a model: random graphs, random edits, random reruns. After each run every output is what a clean build
//! makes of the sources, and the tasks that ran are those that the model says. A failing test prints the seed of its
//! world and what happened in it; `FLEET_MODEL_SEED=…` tells that world alone once more.
//!
//! - `model` tasks as pure functions of their sources, and which of them have been seen before
//! - `world` a folder in which the same tasks are shell scripts, and the edits of it

mod reuse_model {
    mod model;
    mod random;
    mod world;

    use random::Random;
    use world::World;

    /// Each world is a folder with a fleet of its own.
    const WORLDS: u64 = 6;
    const STEPS: u64 = 16;

    fn live(seed: u64) {
        eprintln!("world {seed}");
        let mut random = Random(seed);
        let mut world = World::new(&mut random);
        world.run(&mut random);
        for _ in 0..STEPS {
            for _ in 0..random.below(4) {
                world.edit(&mut random);
            }
            world.run(&mut random);
        }
    }

    /// Several tests, so that they run beside each other.
    fn worlds(part: u64) {
        if let Ok(seed) = std::env::var("FLEET_MODEL_SEED") {
            return live(seed.parse().expect("a seed is a number"));
        }
        for world in 0..WORLDS {
            live(part * 1_000 + world);
        }
    }

    #[test]
    fn every_world_is_as_a_clean_build_makes_it() {
        worlds(1);
    }

    #[test]
    fn every_other_world_is_too() {
        worlds(2);
    }

    #[test]
    fn and_so_are_those_after_them() {
        worlds(3);
    }

    #[test]
    fn and_the_last_ones() {
        worlds(4);
    }
}
