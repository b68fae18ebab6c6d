//! A real GPU behind [`Driver`]: CUDA's driver, the kernels as machine code, cuBLASLt.
//!
//! In → the number of a device; out → a [`Context`]. One stream of our own, so no call waits for
//! another stream and all are in order; memory from the driver's pool, which is told to keep freed
//! memory. The driver takes from each fatbin the code that fits its GPU; modules stay loaded.
//! **Cost.** Opening: some hundred milliseconds. A launch: some microseconds on the host.

#![allow(unsafe_code, reason = "calls into CUDA's driver")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute as DeviceAttribute, CUfunction,
    CUfunction_attribute as FunctionAttribute, CUmemPool_attribute as PoolAttribute, CUmodule,
    CUresult, CUstream,
};

use super::driver::{Address, Argument, Driver, Identity, Launch, Product};
use super::gemm::Products;
use super::libraries;
use super::memory::Context;
use super::table::ENTRIES;
use crate::base::error::{Error, Result};

/// The version of CUDA that machine code and PTX are compiled with: 13.0.
const VERSION: i32 = 13_000;

/// Bytes of shared memory that a kernel may use without setting an attribute first.
const PLAIN_SHARED: usize = 48 * 1024;

/// The most bytes of shared memory of a kernel where it depends on sizes: norms of 4,096 elements.
const MOST_SHARED: usize = 64 * 1024;

macro_rules! fatbins {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".fatbin")))),*]
    };
}

/// Machine code, by the source file it is compiled from.
const FATBINS: &[(&str, &[u8])] = fatbins![
    "activation",
    "attention_backward",
    "attention_forward",
    "bias",
    "combine",
    "cross_entropy",
    "dropout",
    "embedding",
    "layer_norm",
    "muon",
    "optimizer",
    "probe",
    "rms_norm",
    "rope",
];

/// A GPU.
#[derive(Debug)]
struct Gpu {
    context: CUcontext,
    stream: CUstream,
    functions: BTreeMap<&'static str, CUfunction>,
    products: Mutex<Products>,
    identity: Identity,
}

// SAFETY: the driver's handles may be used from any thread that has made the context current, which
// every call here does first.
unsafe impl Send for Gpu {}
// SAFETY: as above; the driver's functions that are called here are safe to call from many threads.
unsafe impl Sync for Gpu {}

/// Opens device `number`.
///
/// # Errors
/// Config: a library or a device that is not there, a driver that is too old.
pub fn open(number: i32) -> Result<Arc<Context>> {
    libraries::open()?;
    // SAFETY: the first call into the driver.
    none(unsafe { sys::cuInit(0) }, "no NVIDIA GPU answers on this machine")?;
    let mut version = 0;
    // SAFETY: writes one integer.
    none(unsafe { sys::cuDriverGetVersion(&mut version) }, "the driver has no version")?;
    if version < VERSION {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(Error::config(format!("the NVIDIA driver is for CUDA {major}.{minor}"))
            .with_hint("these kernels need a driver for CUDA 13.0 or later: 580 on Linux"));
    }
    let mut count = 0;
    // SAFETY: writes one integer.
    none(unsafe { sys::cuDeviceGetCount(&mut count) }, "the GPUs cannot be counted")?;
    if number >= count {
        let message = format!("there is no device `cuda:{number}`: this machine has {count}");
        return Err(Error::config(message).with_hint("they are counted from 0"));
    }
    Ok(Context::new(Arc::new(Gpu::open(number)?)))
}

/// Checks a call that asks what the machine has: its failure is an error of configuration.
fn none(result: CUresult, what: &str) -> Result<()> {
    match result {
        CUresult::CUDA_SUCCESS => Ok(()),
        error => Err(Error::config(format!("{what}: {error:?}")).with_hint(
            "`nvidia-smi` shows the GPUs that the driver sees; `--device cpu` needs none",
        )),
    }
}

/// Checks a call that does work.
fn check(result: CUresult, what: impl FnOnce() -> String) -> Result<()> {
    let hint = match result {
        CUresult::CUDA_SUCCESS => return Ok(()),
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => "a smaller `train.micro_batch` needs less memory",
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => {
            "this build has no code for the GPU: it is older than an A100"
        }
        _ => "the device cannot be used any more by this process: start again from a checkpoint",
    };
    Err(Error::failed(format!("the GPU refused {}: {result:?}", what())).with_hint(hint))
}

impl Gpu {
    fn open(number: i32) -> Result<Gpu> {
        let (mut device, mut context, mut stream) = (0, std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: each writes one handle; the device is one of those counted, and the context is
        // current before the stream is made.
        unsafe {
            check(sys::cuDeviceGet(&mut device, number), || "a handle".to_owned())?;
            let retained = sys::cuDevicePrimaryCtxRetain(&mut context, device);
            check(retained, || "a context".to_owned())?;
            check(sys::cuCtxSetCurrent(context), || "its context".to_owned())?;
            // 1: non-blocking, so it does not wait for the default stream, which nothing here uses.
            check(sys::cuStreamCreate(&mut stream, 1), || "a stream".to_owned())?;
        }
        keep_memory(device)?;
        let mut functions = BTreeMap::new();
        for (file, code) in FATBINS {
            load(file, code, &mut functions)?;
        }
        let products = Products::open(stream)?;
        let identity = Identity { device: described(device)?, matmul: products.version() };
        Ok(Gpu { context, stream, functions, products: Mutex::new(products), identity })
    }

    fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained for the life of the process.
        check(unsafe { sys::cuCtxSetCurrent(self.context) }, || "its context".to_owned())
    }
}

/// Tells the pool to keep freed memory, which it otherwise releases at each synchronisation.
fn keep_memory(device: CUdevice) -> Result<()> {
    let (mut pool, mut threshold) = (std::ptr::null_mut(), u64::MAX);
    // SAFETY: the attribute is a u64, which is read before the call returns.
    unsafe {
        check(sys::cuDeviceGetDefaultMemPool(&mut pool, device), || "its pool".to_owned())?;
        let attribute = PoolAttribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        let value = std::ptr::from_mut(&mut threshold).cast::<c_void>();
        check(sys::cuMemPoolSetAttribute(pool, attribute, value), || "its threshold".to_owned())
    }
}

/// Name and compute capability of a device.
fn described(device: CUdevice) -> Result<String> {
    let mut name = [0; 128];
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the name is written with its zero into the bytes given; the others are integers.
    unsafe {
        let length = name.len() as i32;
        check(sys::cuDeviceGetName(name.as_mut_ptr(), length, device), || "its name".to_owned())?;
        for (attribute, number) in [
            (DeviceAttribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &mut major),
            (DeviceAttribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &mut minor),
        ] {
            let got = sys::cuDeviceGetAttribute(number, attribute, device);
            check(got, || "its generation".to_owned())?;
        }
        let name = CStr::from_ptr(name.as_ptr()).to_string_lossy();
        Ok(format!("cuda {name} sm_{major}{minor}"))
    }
}

/// Loads a file's code and finds its kernels.
fn load(
    file: &'static str,
    code: &[u8],
    functions: &mut BTreeMap<&'static str, CUfunction>,
) -> Result<()> {
    let mut module: CUmodule = std::ptr::null_mut();
    let image = code.as_ptr().cast::<c_void>();
    // SAFETY: a fatbin holds its own length.
    check(unsafe { sys::cuModuleLoadData(&mut module, image) }, || format!("the code of {file}"))?;
    for entry in ENTRIES.iter().filter(|entry| entry.file == file) {
        let name = CString::new(entry.name).expect("names of kernels hold no zero");
        let mut function: CUfunction = std::ptr::null_mut();
        // SAFETY: the name ends with a zero; the module stays loaded for the life of the process.
        let got = unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) };
        check(got, || format!("the kernel {}", entry.name))?;
        let shared = entry.shared.unwrap_or(MOST_SHARED);
        if shared > PLAIN_SHARED {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was found above.
            let set = unsafe { sys::cuFuncSetAttribute(function, attribute, shared as i32) };
            check(set, || format!("{shared} shared bytes for {}", entry.name))?;
        }
        functions.insert(entry.name, function);
    }
    Ok(())
}

/// The bytes of an argument as the driver reads them, in an array aligned for any kind of argument.
fn placed(argument: &Argument) -> [u64; 5] {
    let mut place = [0; 5];
    let mut put = |bytes: &[u8]| {
        for (word, part) in place.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..part.len()].copy_from_slice(part);
            *word = u64::from_le_bytes(whole);
        }
    };
    match argument {
        Argument::Pointer(address) => put(&address.unwrap_or(0).to_le_bytes()),
        Argument::Four(bytes) => put(bytes),
        Argument::Eight(bytes) => put(bytes),
        Argument::Sizes(bytes) => put(bytes),
    }
    place
}

impl Driver for Gpu {
    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.enter()?;
        let mut address = 0;
        // SAFETY: writes one address.
        let got = unsafe { sys::cuMemAllocAsync(&mut address, bytes, self.stream) };
        check(got, || format!("{bytes} bytes of memory"))?;
        Ok(address)
    }

    fn free(&self, address: Address) {
        // A failure cannot be reported here; the next call meets the same one.
        if self.enter().is_ok() {
            // SAFETY: the address came from `allocate` and is given back once, by its owner.
            let _ = unsafe { sys::cuMemFreeAsync(address, self.stream) };
        }
    }

    fn clear(&self, address: Address, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: the caller owns these bytes.
        let set = unsafe { sys::cuMemsetD8Async(address, 0, bytes, self.stream) };
        check(set, || format!("to clear {bytes} bytes"))
    }

    fn write(&self, address: Address, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        let from = bytes.as_ptr().cast::<c_void>();
        // SAFETY: the caller owns as many bytes there; memory that is not pinned is read before
        // this returns.
        let copied = unsafe { sys::cuMemcpyHtoDAsync_v2(address, from, bytes.len(), self.stream) };
        check(copied, || format!("{} bytes from the host", bytes.len()))
    }

    fn read(&self, address: Address, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        let to = bytes.as_mut_ptr().cast::<c_void>();
        // SAFETY: the caller owns as many bytes there; the stream is waited for before `bytes` can
        // be seen again.
        let (copied, waited) = unsafe {
            let copied = sys::cuMemcpyDtoHAsync_v2(to, address, bytes.len(), self.stream);
            (copied, sys::cuStreamSynchronize(self.stream))
        };
        check(copied, || format!("{} bytes to the host", bytes.len()))?;
        check(waited, || "what was queued".to_owned())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.enter()?;
        let function = self.functions[launch.entry.name];
        let mut places: Vec<[u64; 5]> = launch.arguments.iter().map(placed).collect();
        let mut pointers: Vec<*mut c_void> =
            places.iter_mut().map(|place| place.as_mut_ptr().cast::<c_void>()).collect();
        let [x, y, z] = launch.grid;
        // SAFETY: a `Launch` has the number and the widths of the kernel's arguments; the driver
        // copies them before it returns. `calls` ensures that sizes are those of the arrays.
        let launched = unsafe {
            sys::cuLaunchKernel(
                function,
                x,
                y,
                z,
                launch.entry.threads,
                1,
                1,
                launch.shared,
                self.stream,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        check(launched, || format!("{} on {:?} blocks", launch.entry.name, launch.grid))
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        self.enter()?;
        let mut products = self.products.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        products.queue(product)
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_its_code_and_all_code_has_a_kernel() {
        for entry in ENTRIES {
            assert!(FATBINS.iter().any(|(file, _)| *file == entry.file), "{}", entry.name);
        }
        for (file, code) in FATBINS {
            assert!(ENTRIES.iter().any(|entry| entry.file == *file), "{file}");
            // NVIDIA's mark of a fatbin, fatbinary_section.h.
            assert_eq!(code[..4], 0xBA55_ED50u32.to_le_bytes(), "{file}");
        }
    }

    #[test]
    fn arguments_lie_as_wide_as_kernels_read_them() {
        assert_eq!(placed(&Argument::from(-1i32))[0], 0xffff_ffff);
        assert_eq!(placed(&Argument::Pointer(None)), [0; 5]);
        let sizes: Vec<u8> = (0..36).collect();
        let sizes = placed(&Argument::Sizes(sizes.try_into().unwrap()));
        assert_eq!(sizes[3].to_le_bytes(), [24, 25, 26, 27, 28, 29, 30, 31]);
        assert_eq!(sizes[4].to_le_bytes(), [32, 33, 34, 35, 0, 0, 0, 0]);
    }
}
