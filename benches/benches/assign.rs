//! Draft to assignment: 100,000 and a million items on 4 levels of 256 codes, three in ten of
//! them on colliding paths; and 50,000 items on 2 levels, which fill three quarters of the space.

#[path = "../../semantic-id/tests/geometry/mod.rs"]
mod geometry;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use geometry::Geometry;
use semantic_id::{
    Assigner, ItemKeys, Objective, OptimalAssigner, Scope, SinkhornAssigner, SuffixAssigner,
};

const DIM: usize = 16;

/// Uniform numbers in `[-0.5, 0.5)`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.next() + 0.5) * bound as f32) as usize
    }

    fn vector(&mut self, len: usize, spread: f32) -> Vec<f32> {
        (0..len).map(|_| self.next() * spread).collect()
    }
}

/// 1,000 items are one and the same, more than their prefix can hold; of the others, one in ten
/// repeats an earlier one exactly and four in ten nearly.
fn catalogue(items: usize) -> Geometry {
    let mut random = Random(1);
    let codebooks: Vec<Vec<f32>> = (0..4)
        .map(|level| random.vector(256 * DIM, 0.8f32.powi(level)))
        .collect();
    let mut latents = random.vector(DIM, 1.0).repeat(1_000);
    latents.extend(random.vector(items / 2 * DIM, 1.0));
    for item in 1_000 + items / 2..items {
        let noise = [0.0, 0.1, 0.2, 0.4, 0.8][item % 5];
        let original = 1_000 + random.below(items / 2);
        for at in 0..DIM {
            latents.push(latents[original * DIM + at] + noise * random.next());
        }
    }
    Geometry {
        dim: DIM,
        latents,
        codebooks,
    }
}

/// Items on 65,536 paths.
fn crowded(items: usize) -> Geometry {
    let mut random = Random(1);
    Geometry {
        dim: DIM,
        codebooks: (0..2)
            .map(|level| random.vector(256 * DIM, 0.8f32.powi(level)))
            .collect(),
        latents: random.vector(items * DIM, 1.0),
    }
}

fn assign(c: &mut Criterion) {
    let optimal = OptimalAssigner::default();
    let global = OptimalAssigner {
        scope: Scope::Global,
        ..optimal
    };
    let distance = OptimalAssigner {
        objective: Objective::Distance,
        ..optimal
    };
    let sinkhorn = SinkhornAssigner {
        accept_collisions: true,
        ..SinkhornAssigner::default()
    };
    let all: [(&str, &dyn Assigner); 5] = [
        ("optimal", &optimal),
        ("suffix", &SuffixAssigner),
        ("optimal-global", &global),
        ("optimal-distance", &distance),
        ("sinkhorn", &sinkhorn),
    ];
    let mut group = c.benchmark_group("assign");
    group.sample_size(10);
    for (geometry, assigners) in [
        (catalogue(100_000), &all[..]),
        (catalogue(1_000_000), &all[..2]),
        (crowded(50_000), &all[..1]),
    ] {
        let items = geometry.items();
        let draft = geometry.draft();
        let keys = ItemKeys::numbered(items).expect("numbers are distinct");
        for (name, assigner) in assigners {
            group.bench_function(BenchmarkId::new(*name, items), |b| {
                b.iter(|| assigner.assign(&draft, &keys).expect("the items fit"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, assign);
criterion_main!(benches);
