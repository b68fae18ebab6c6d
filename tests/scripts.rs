//! Near-copies in scripts that put no space between words, and texts that are none.

use crate::dedup::{documents, run};

/// A text in clauses of 7 to 14 letters, drawn from an alphabet; equal seeds give equal texts.
fn clauses(alphabet: &str, space: &str, seed: u64, letters: usize) -> Vec<String> {
    // Each letter with the marks behind it.
    let mut units: Vec<String> = Vec::new();
    for char in alphabet.chars() {
        match units.last_mut() {
            Some(last) if !char.is_alphanumeric() => last.push(char),
            _ => units.push(char.to_string()),
        }
    }
    let mut state = seed;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let (mut text, mut left) = (Vec::new(), 0);
    for _ in 0..letters {
        if left == 0 {
            left = 7 + draw(8);
            text.push(space.to_owned());
        }
        left -= 1;
        text.push(units[draw(units.len())].clone());
    }
    text
}

const SCRIPTS: [(&str, &str, &str); 9] = [
    (
        "Chinese",
        "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生",
        "，",
    ),
    (
        "Japanese",
        "あいうえおかきくけこさしすせそたちつてとなにのはひふまみもやよらりるれろわをんアイウエオカキクコサシスタツテトナニノ日本語人年大出本中見行",
        "、",
    ),
    ("Thai", "กขคงจชซดตถทนบปผพฟมยรลวสหอกาขิคีงุจูช่ซ้", " "),
    ("Lao", "ກຂຄງຈສຊຍດຕຖທນບປຜຝພຟມຢຣລວຫອຮກິຂີຄຸງູ", " "),
    ("Khmer", "កខគឃងចឆជឈញដឋឌឍណតថទធនបផពភមយរលវសហអកាខិគី", "\u{200b}"),
    ("Burmese", "ကခဂဃငစဆဇဈညဋဌဍဎဏတထဒဓနပဖဗဘမယရလဝသဟအကာခိဂီ", "။"),
    ("Tibetan", "ཀཁགངཅཆཇཉཏཐདནཔཕབམཙཚཛཝཞཟའཡརལཤསཧཨཀིཁུགེངོ", "།"),
    ("Javanese", "ꦏꦐꦑꦒꦓꦔꦕꦖꦗꦘꦙꦚꦛꦜꦝꦞꦟꦠꦡꦢꦣꦤꦥꦦꦧꦨꦩꦪꦫꦭꦮꦯꦰꦱꦲ", "\u{a9c8}"),
    ("mixed", "的一是不了人我在有他这为之大来以个中abcdefghijkกขคงจชซ0123456789", " "),
];

#[test]
fn near_copies_are_found_in_scripts_without_spaces_between_words() {
    for (name, alphabet, space) in SCRIPTS {
        let plain = clauses(alphabet, space, 1, 400);
        let mut edited = plain.clone();
        let letters = plain.len();
        (edited[letters / 3], edited[2 * letters / 3]) = ("甲".into(), "ยย".into());
        let mut longer = plain.clone();
        longer.extend(clauses(alphabet, space, 9, 20));
        // The same letters and clauses, but few of them where they were.
        let mut shuffled = plain.clone();
        (0..letters / 2).step_by(3).for_each(|at| shuffled.swap(at, letters - 1 - at));
        let folder = tempfile::tempdir().unwrap();
        let texts = [
            ("plain", plain.concat()),
            ("edited", edited.concat()),
            ("longer", longer.concat()),
            ("shuffled", shuffled.concat()),
            ("other", clauses(alphabet, space, 2, 400).concat()),
            ("half", [&plain[..letters / 2], &clauses(alphabet, space, 3, 200)].concat().concat()),
        ];
        let path = documents(folder.path(), &texts.each_ref().map(|(id, text)| (*id, text)));
        let run = run(&path, "");
        assert_eq!(run.kept(), ["plain", "shuffled", "other", "half"], "{name}");
        for one in run.removed() {
            let jaccard = one.jaccard.unwrap();
            assert!(one.kept == "plain" && (0.8..1.0).contains(&jaccard), "{name}: {jaccard}");
        }
    }
}

#[test]
fn spaces_that_some_write_between_words_make_no_other_text() {
    let folder = tempfile::tempdir().unwrap();
    let plain = clauses(SCRIPTS[0].1, "", 1, 300).concat();
    let spaced: String = plain.chars().flat_map(|char| [char, ' ']).collect();
    let texts = [("plain", plain.as_str()), ("spaced", &spaced)];
    let run = run(&documents(folder.path(), &texts), "");
    assert_eq!(run.removed()[0].jaccard, Some(1.0));
}

#[test]
fn short_texts_in_any_script_fall_to_equal_ones_alone() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        ("zh-1", "你好，世界"),
        ("zh-2", "你好世界！"),
        ("zh-3", "你好，世间"),
        ("th-1", "สวัสดี"),
        ("th-2", "สวัสดิ"),
        ("my-1", "ကောင်း"),
        ("my-2", "ကောင်"),
        ("ja-1", "カタカナ"),
        ("ja-2", "カタカタ"),
        ("hi-1", "नमस्ते"),
        ("ko-1", "안녕하세요"),
        ("ko-2", "안녕하십니까"),
    ];
    let run = run(&documents(folder.path(), &texts), "");
    let removed: Vec<String> = run.removed().into_iter().map(|one| one.id).collect();
    assert_eq!(removed, ["zh-2"]);
}
