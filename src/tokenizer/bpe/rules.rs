//! The alternatives of the patterns as arithmetic on bit masks of up to 64 characters.
//!
//! In: 64 bytes that begin where a piece begins. Out: [`Cut`], one bit for each byte where a piece
//! starts, as far as the window can tell.
//! Method: each rule below follows from the alternatives in order, read as "what starts a piece";
//! `pattern` has the same alternatives read as "where does a piece end", and is the reference.
//! Invariants: bit 0 is always set; every set bit is a piece start whatever follows the window;
//! bits are missing only after the last set one.
//! Cost: 40 to 70 instructions a window, without branches but for digits, contractions and
//! characters beyond ASCII.

use super::classes;
use super::simd::Isa;

/// What a window says.
pub struct Cut {
    /// Piece starts.
    pub starts: u64,
    /// Characters that the masks cannot decide: up to the last of them, cut one by one.
    pub rare: u64,
}

/// Classes of the characters of a window, bit 0 the first character.
#[derive(Clone, Copy)]
pub struct Masks {
    /// Characters that are wholly in the window.
    valid: u64,
    /// All ones if the text ends in the window, else 0.
    at_end: bool,
    letter: u64,
    /// Lu and Lt, only for rules with `CASED`.
    upper: u64,
    /// Lm and Lo, only for rules with `CASED`.
    caseless: u64,
    number: u64,
    white: u64,
    line_break: u64,
    blank: u64,
    slash: u64,
    apostrophe: u64,
    /// Apostrophes before `s`, `t`, `m`, `d`.
    short: u64,
    /// Apostrophes before `re`, `ve`, `ll`.
    long: u64,
    rare: u64,
}

/// A pattern.
pub trait Rules {
    /// Whether contractions may be of capitals.
    const FOLD: bool;
    /// Whether letters have to be told apart by case, and marks from other characters.
    const CASED: bool;
    /// Piece starts and characters that cannot be decided.
    fn starts<I: Isa>(masks: &Masks) -> (u64, u64);
}

/// Finds the piece starts of a window. `left`: bytes to the text's end, if less than 64; `folds`:
/// U+017F makes a contraction.
#[inline(always)]
pub fn cut<I: Isa, R: Rules>(window: &[u8; 64], left: usize, folds: bool) -> Cut {
    let block = I::load(window);
    let valid = if left < 64 { (1 << left) - 1 } else { u64::MAX };
    let ascii = I::ascii(block);
    let high = I::high(block) & valid;
    let mut masks = Masks {
        valid,
        at_end: left < 64,
        letter: ascii.letter,
        upper: ascii.letter & !ascii.lower,
        caseless: 0,
        number: ascii.number,
        white: ascii.white,
        line_break: ascii.line_break,
        blank: ascii.blank,
        slash: ascii.slash,
        apostrophe: ascii.apostrophe,
        short: 0,
        long: 0,
        rare: 0,
    };
    let apostrophes = ascii.apostrophe & ascii.letter >> 1;
    if apostrophes != 0 {
        let (short, long) = I::contractions(block, R::FOLD);
        masks.short = apostrophes & short;
        masks.long = apostrophes & long;
    }
    if high == 0 {
        let (starts, rare) = R::starts::<I>(&masks);
        return Cut { starts, rare };
    }
    let firsts = widen::<I, R>(&mut masks, window, block, high, ascii.apostrophe, folds);
    let (starts, rare) = R::starts::<I>(&masks);
    Cut { starts: I::deposit(starts, firsts), rare: I::deposit(rare, firsts) }
}

/// Adds the characters beyond ASCII and turns masks of bytes into masks of characters. Returns the
/// characters' first bytes.
#[inline(always)]
fn widen<I: Isa, R: Rules>(
    masks: &mut Masks,
    window: &[u8; 64],
    block: I::Block,
    high: u64,
    apostrophe: u64,
    folds: bool,
) -> u64 {
    let wide = I::wide(block);
    let mut firsts = masks.valid & !wide.continuation;
    let last = 63 - firsts.leading_zeros() as usize;
    let length = window[last].leading_ones().max(1) as usize;
    if last + length > 64 {
        firsts &= !(1 << last);
    }
    let low = !high & firsts;
    let beyond = high & firsts;
    masks.letter = masks.letter & low | wide.letter & beyond;
    masks.upper &= low;
    masks.number &= low;
    masks.white &= low;
    if R::CASED {
        masks.caseless = wide.caseless & beyond;
    }
    let known = wide.other | if R::CASED { wide.caseless } else { wide.letter };
    let mut open = beyond & !known;
    while open != 0 {
        let at = open.trailing_zeros() as usize;
        let class = classes::at(window, at).0;
        let bit = |classes: u8| u64::from(class & classes != 0) << at;
        masks.letter |= bit(classes::LETTER);
        masks.number |= bit(classes::NUMBER);
        masks.white |= bit(classes::SPACE);
        if R::CASED {
            masks.upper |= bit(classes::UPPER);
            masks.caseless |= bit(classes::CASELESS);
            masks.rare |= bit(classes::MARK);
        }
        open &= open - 1;
    }
    if folds {
        masks.rare |= apostrophe & low & wide.long_s >> 1;
    }
    for mask in [
        &mut masks.letter,
        &mut masks.number,
        &mut masks.white,
        &mut masks.line_break,
        &mut masks.blank,
        &mut masks.apostrophe,
        &mut masks.short,
        &mut masks.long,
        &mut masks.rare,
    ] {
        *mask = I::extract(*mask, firsts);
    }
    if R::CASED {
        for mask in [&mut masks.upper, &mut masks.caseless, &mut masks.slash] {
            *mask = I::extract(*mask, firsts);
        }
    }
    masks.valid = I::extract(u64::MAX, firsts);
    firsts
}

/// The first of each run of ones.
#[inline(always)]
fn first(bits: u64) -> u64 {
    bits & !(bits << 1)
}

impl Masks {
    /// Characters that are neither letter, number nor white space.
    #[inline(always)]
    fn other(&self) -> u64 {
        self.valid & !(self.letter | self.number | self.white)
    }

    /// Takes out the starts inside white space that reaches the window's end: how that is cut
    /// depends on what follows the window. Where it begins, which is in `sure`, stays a start.
    #[inline(always)]
    fn decided(&self, starts: u64, sure: u64) -> u64 {
        if self.at_end {
            return (starts | 1) & self.valid;
        }
        let solid = self.valid & !self.white | 1;
        (starts & (u64::MAX >> solid.leading_zeros()) | sure | 1) & self.valid
    }

    /// First, fourth, seventh … of each run of numbers.
    #[inline(always)]
    fn threes(&self) -> u64 {
        let mut starts = first(self.number);
        let pairs = self.number & self.number << 1;
        let fourth = pairs & pairs << 2;
        if fourth != 0 {
            let mut third = starts;
            loop {
                third = third << 3 & fourth;
                if third == 0 {
                    break;
                }
                starts |= third;
            }
        }
        starts
    }

    /// Starts in white space by `\s*[\r\n]+|\s+(?!\S)|\s+`, where `taken` are line breaks of the
    /// piece before: (all starts, those that open a run).
    #[inline(always)]
    fn white_with_breaks<I: Isa>(&self, taken: u64) -> (u64, u64) {
        let space = self.white & !self.line_break;
        let free = self.white & !taken;
        let opening = first(free);
        let last = space & (self.valid & !self.white) >> 1;
        // Spaces after the run's last line break are a piece of their own. Those that a line break
        // follows are none: carrying a one through each stretch tells how it ends.
        let mut after = (free & self.line_break) << 1 & space;
        if space & self.line_break >> 1 & !opening != 0 {
            let ends = space.wrapping_add(after) & !space;
            after = I::deposit(I::extract(!self.line_break, ends), after);
        }
        (opening | after | last, opening)
    }
}

/// GPT-2's pattern; with `DIGITS`, every number cut out first.
pub struct Gpt2<const DIGITS: bool>;

impl<const DIGITS: bool> Rules for Gpt2<DIGITS> {
    const FOLD: bool = false;
    const CASED: bool = false;

    #[inline(always)]
    fn starts<I: Isa>(masks: &Masks) -> (u64, u64) {
        let other = first(masks.other()) & !(masks.blank << 1);
        let (short, long) = (other & masks.short, other & masks.long);
        let letter = first(masks.letter) & !((masks.blank | short | long) << 1);
        let opening = first(masks.white);
        let solid = masks.valid & !masks.white;
        let (number, last) = if DIGITS {
            (masks.number, masks.white & (solid & !masks.number) >> 1)
        } else {
            (first(masks.number) & !(masks.blank << 1), masks.white & solid >> 1)
        };
        let contracted = short << 2 | long << 3;
        let starts = other | letter | number | contracted | opening | last;
        let mut decided = masks.decided(starts, opening);
        // Two characters behind an apostrophe decide whether a letter starts a piece there.
        let open = other & masks.apostrophe & !(masks.valid >> 2);
        if open != 0 && !masks.at_end {
            decided &= open ^ (open - 1);
        }
        (decided, masks.rare)
    }
}

/// cl100k's pattern with at most `DIGITS` (1 or 3) numbers in a piece.
pub struct Cl100k<const DIGITS: usize>;

impl<const DIGITS: usize> Rules for Cl100k<DIGITS> {
    const FOLD: bool = true;
    const CASED: bool = false;

    #[inline(always)]
    fn starts<I: Isa>(masks: &Masks) -> (u64, u64) {
        let others = masks.other();
        let other = first(others) & !(masks.blank << 1);
        let contracted = (other & masks.short) << 2 | (other & masks.long) << 3;
        let space = masks.white & !masks.line_break;
        let letter = first(masks.letter) & !((space | other) << 1);
        let number = if DIGITS == 1 { masks.number } else { masks.threes() };
        let breaks = masks.line_break;
        let taken = breaks & !breaks.wrapping_add(breaks & others << 1);
        let (white, opening) = masks.white_with_breaks::<I>(taken);
        let starts = other | letter | number | contracted | white;
        (masks.decided(starts, opening), masks.rare)
    }
}

/// o200k's pattern. Marks, which are letters to one alternative and punctuation to another,
/// capitals after letters without case, and some sequences of apostrophes and slashes are rare.
pub struct O200k;

impl Rules for O200k {
    const FOLD: bool = true;
    const CASED: bool = true;

    #[inline(always)]
    fn starts<I: Isa>(masks: &Masks) -> (u64, u64) {
        let after_letter = masks.letter << 1;
        let (short, long) = (masks.short & after_letter, masks.long & after_letter);
        let suffix = short | long;
        let suffixed = short << 2 | long << 3;
        let others = masks.other();
        let other = first(others) & !(masks.blank << 1) & !suffix;
        let space = masks.white & !masks.line_break;
        let run = first(masks.letter) & !((space | other | suffix) << 1);
        let small = masks.letter & !masks.upper & !masks.caseless;
        let capital = masks.upper & small << 1 & !(long << 2);
        let breaks = masks.line_break;
        let taken = breaks & !breaks.wrapping_add(breaks & others << 1);
        let (white, opening) = masks.white_with_breaks::<I>(taken);
        let rare = masks.rare
            | masks.upper & masks.caseless << 1
            | suffix & suffixed
            | masks.slash & taken << 1;
        let starts = other | run | capital | masks.threes() | suffixed | white;
        let mut decided = masks.decided(starts, opening);
        // An apostrophe after a letter with less than two characters behind it may yet belong to
        // the word.
        let open = masks.apostrophe & after_letter & !(masks.valid >> 2);
        if open != 0 && !masks.at_end {
            decided &= (open & open.wrapping_neg()) - 1;
        }
        (decided, rare & masks.valid)
    }
}
