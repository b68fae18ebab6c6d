//! AMX: the matrix unit of a CPU, which multiplies tiles of bf16 and sums them in f32.
//!
//! In → packed tiles in memory; out → a square of 32 × 32 sums. **Method.** Four of the unit's
//! eight tile registers hold the square and two hold parts of each factor, so each loaded part is
//! used twice (Intel, *64 and IA-32 Architectures Optimization Reference Manual*, chapter 20). The
//! compiler's own intrinsics are unstable, so the instructions are written out.
//!
//! **Invariants.** The unit is used only where the CPU has it and the operating system permits it
//! to this process (`ARCH_REQ_XCOMP_PERM`, Linux 5.16); the registers are configured and released
//! inside one call of [`Configured::run`], on one thread. **Cost.** A step of 32 inner indices
//! takes 64 cycles; memory that is not aligned to 64 bytes makes it five times that.

#![allow(unsafe_code, reason = "instructions without intrinsics, and a system call")]

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Sizes of the tile registers, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Sizes([u8; 64]);

/// All eight registers: 16 rows of 64 bytes.
const SIZES: Sizes = {
    let mut bytes = [0; 64];
    bytes[0] = 1; // the one palette there is
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Sizes(bytes)
};

/// Whether this process may multiply tiles of bf16. The first call asks the system.
pub fn is_there() -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    *IS_THERE.get_or_init(|| cfg!(target_os = "linux") && cpu_has_it() && is_permitted())
}

fn cpu_has_it() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    let features = __cpuid_count(7, 0).edx;
    features & (BF16 | TILES) == BF16 | TILES
}

/// Asks the operating system for permission to use the tile registers; Linux before 5.16, or built
/// without support for them, refuses.
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a call of Linux by its convention, which reads and writes no memory of this process.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// The registers of this thread, with their sizes set.
pub struct Configured(());

impl Configured {
    /// Sets the sizes, runs `body` on this thread, and releases the registers.
    ///
    /// # Panics
    /// Where this process may not use the unit.
    pub fn run(body: impl FnOnce(&Configured)) {
        assert!(is_there(), "tiles of bf16 on a CPU that has them");
        let configured = Release(Configured(()));
        // SAFETY: the CPU has the instruction, the process its permission, and the sizes are valid.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &SIZES, options(nostack, readonly)) };
        body(&configured.0);
    }

    /// 32 × 32 sums over `steps` times 32 inner indices.
    ///
    /// # Safety
    /// `left` holds 32 rows of `steps` · 64 bytes, `left_stride` bytes apart; `right` holds
    /// `steps` · 16 rows of 128 bytes; `sums` is (start, bytes between rows) of room for 32 rows of
    /// 32 numbers.
    pub unsafe fn multiply(
        &self,
        left: *const u32,
        left_stride: usize,
        right: *const u32,
        steps: usize,
        sums: (*mut f32, usize),
    ) {
        let (sums, row) = sums;
        let (lower, lower_sums) =
            (left.wrapping_byte_add(16 * left_stride), sums.wrapping_byte_add(16 * row));
        // SAFETY: the registers' sizes are set on this thread, since `Configured` is borrowed;
        // what is read and written is the caller's promise.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{upper} + {stride} * 1]",
                "tileloadd tmm6, [{right} + {panel} * 1]",
                "tileloadd tmm7, [{right} + {panel} * 1 + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{lower} + {stride} * 1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {upper}, 64",
                "add {lower}, 64",
                "add {right}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {row} * 1], tmm0",
                "tilestored [{sums} + {row} * 1 + 64], tmm1",
                "tilestored [{lower_sums} + {row} * 1], tmm2",
                "tilestored [{lower_sums} + {row} * 1 + 64], tmm3",
                upper = inout(reg) left => _,
                lower = inout(reg) lower => _,
                stride = in(reg) left_stride,
                right = inout(reg) right => _,
                panel = in(reg) 128_usize,
                row = in(reg) row,
                steps = inout(reg) steps => _,
                sums = in(reg) sums,
                lower_sums = in(reg) lower_sums,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

/// Releases the registers when dropped, so also when the body panics.
struct Release(Configured);

impl Drop for Release {
    fn drop(&mut self) {
        // SAFETY: a CPU with tiles has this instruction; nobody uses the tiles afterwards.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
