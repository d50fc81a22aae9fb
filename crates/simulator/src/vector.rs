//! Embeddings without a model: texts that share words and letters lie near each other.

use crate::seed::{hash, mix};

/// What a whole word weighs beside three letters in a row.
const WORD: f32 = 1.0;
const LETTERS: f32 = 0.35;
/// A part that all texts share, so that unrelated ones are not quite orthogonal, as with real models.
const COMMON: f32 = 0.35;

/// A vector of unit length.
pub(crate) fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions.max(1)];
    let lower = text.to_lowercase();
    for word in lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        // short words carry little meaning
        let weight = if word.chars().count() <= 3 { 0.4 } else { 1.0 };
        add(&mut vector, hash(word.bytes()), WORD * weight);
        let edged: Vec<char> = std::iter::once('<').chain(word.chars()).chain(['>']).collect();
        for three in edged.windows(3) {
            let letters: String = three.iter().collect();
            add(&mut vector, hash(letters.bytes().chain([0])), LETTERS * weight);
        }
    }
    // one feature alone has the length of its weight times the root of the dimensions
    let size = length(&vector).max(1.0) / (vector.len() as f32).sqrt();
    add(&mut vector, hash(*b"every text"), COMMON * size);
    let size = length(&vector);
    vector.iter_mut().for_each(|number| *number /= size);
    vector
}

/// Spreads one feature over the whole vector.
fn add(vector: &mut [f32], feature: u64, weight: f32) {
    let mut bits = 0;
    for (index, number) in vector.iter_mut().enumerate() {
        if index % 64 == 0 {
            bits = mix(feature.wrapping_add(index as u64));
        }
        *number += if bits & 1 == 1 { weight } else { -weight };
        bits >>= 1;
    }
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|number| number * number).sum::<f32>().sqrt()
}

/// How near two unit vectors lie: 1 for the same direction.
pub(crate) fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_texts_are_near_and_unlike_texts_are_not() {
        let near = |one: &str, other: &str| cosine(&embed(one, 384), &embed(other, 384));
        assert!(near("What is the capital of France?", "what is the capital of france") > 0.99);
        let paraphrase = near("What is the capital of France?", "Which city is France's capital?");
        let unrelated = near("What is the capital of France?", "Bake bread with fresh yeast");
        assert!(paraphrase > unrelated + 0.2, "{paraphrase} against {unrelated}");
    }

    #[test]
    fn vectors_have_unit_length_even_for_no_text() {
        for text in ["", "Hello", "日本語"] {
            assert!((length(&embed(text, 384)) - 1.0).abs() < 1e-5, "{text}");
        }
    }
}
