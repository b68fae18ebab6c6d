//! Memory of a device that frees itself, and arrays in it.
//!
//! In → sizes, bytes; out → [`Array`]s: a part of an allocation with dimensions and a type. An
//! array is a handle: its clones share the memory, which is freed with the last of them, in the
//! order of the queue. **Invariants.** Contiguous, row-major.

use std::sync::{Arc, Mutex};

use half::bf16;

use super::driver::{Address, Argument, Driver, Element, Identity, Launch, Product};
use crate::base::error::Result;

/// A device, and the arrays of integers sent to it last, which are reused.
#[derive(Debug)]
pub struct Context {
    driver: Arc<dyn Driver>,
    /// Integers that are on the device already, the newest last.
    sent: Mutex<Vec<(Vec<u32>, Arc<Memory>)>>,
}

/// Arrays of integers that are kept. A batch has ids, targets, positions, first keys for each
/// window, and the places of trained targets in both directions.
const SENT: usize = 8;

#[derive(Debug)]
struct Memory {
    driver: Arc<dyn Driver>,
    address: Address,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.driver.free(self.address);
    }
}

/// Numbers on a device.
#[derive(Clone, Debug)]
pub struct Array {
    memory: Arc<Memory>,
    context: Arc<Context>,
    offset: usize,
    dims: Vec<usize>,
    element: Element,
    /// For a parameter: the array where its gradients are summed, in fp32.
    sum: Option<Box<Array>>,
}

impl Context {
    /// A context over a driver.
    pub fn new(driver: Arc<dyn Driver>) -> Arc<Context> {
        Arc::new(Context { driver, sent: Mutex::new(Vec::new()) })
    }

    /// What the bits depend on.
    pub fn identity(&self) -> Identity {
        self.driver.identity()
    }

    /// An uninitialised array.
    pub fn array(self: &Arc<Self>, dims: &[usize], element: Element) -> Result<Array> {
        let bytes = dims.iter().product::<usize>() * element.width();
        assert!(bytes > 0, "an array of {dims:?}");
        let address = self.driver.allocate(bytes)?;
        let memory = Arc::new(Memory { driver: self.driver.clone(), address });
        Ok(self.over(memory, dims, element))
    }

    fn over(self: &Arc<Self>, memory: Arc<Memory>, dims: &[usize], element: Element) -> Array {
        let (context, dims) = (self.clone(), dims.to_vec());
        Array { memory, context, offset: 0, dims, element, sum: None }
    }

    /// An array of zeros.
    pub fn zeros(self: &Arc<Self>, dims: &[usize], element: Element) -> Result<Array> {
        let array = self.array(dims, element)?;
        array.clear()?;
        Ok(array)
    }

    /// An array of these bytes.
    pub fn given(
        self: &Arc<Self>,
        dims: &[usize],
        element: Element,
        bytes: &[u8],
    ) -> Result<Array> {
        let array = self.array(dims, element)?;
        array.write(bytes)?;
        Ok(array)
    }

    /// Numbers rounded to bf16, ties to even.
    pub fn rounded(self: &Arc<Self>, dims: &[usize], numbers: &[f32]) -> Result<Array> {
        let bytes = numbers.iter().flat_map(|number| bf16::from_f32(*number).to_le_bytes());
        self.given(dims, Element::Bf16, &bytes.collect::<Vec<u8>>())
    }

    /// Numbers as they are.
    pub fn floats(self: &Arc<Self>, dims: &[usize], numbers: &[f32]) -> Result<Array> {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        self.given(dims, Element::F32, &bytes.collect::<Vec<u8>>())
    }

    /// Integers below 2³¹; an equal array sent shortly before is reused.
    pub fn integers(self: &Arc<Self>, numbers: &[u32]) -> Result<Array> {
        let mut sent = self.sent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, memory)) = sent.iter().find(|(known, _)| known == numbers) {
            return Ok(self.over(memory.clone(), &[numbers.len()], Element::I32));
        }
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let array = self.given(&[numbers.len()], Element::I32, &bytes)?;
        if sent.len() == SENT {
            sent.remove(0);
        }
        sent.push((numbers.to_vec(), array.memory.clone()));
        Ok(array)
    }

    /// Integers of 64 bits.
    pub fn words(self: &Arc<Self>, numbers: &[u64]) -> Result<Array> {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        self.given(&[numbers.len()], Element::Word64, &bytes.collect::<Vec<u8>>())
    }

    /// Queues a kernel.
    pub fn launch(&self, name: &str, grid: [usize; 3], arguments: Vec<Argument>) -> Result<()> {
        self.driver.launch(&Launch::new(name, grid, None, arguments))
    }

    /// Queues a kernel whose shared memory depends on sizes: `shared` bytes for each block.
    pub fn launch_with(
        &self,
        name: &str,
        grid: [usize; 3],
        shared: usize,
        arguments: Vec<Argument>,
    ) -> Result<()> {
        self.driver.launch(&Launch::new(name, grid, Some(shared), arguments))
    }

    /// Queues a product.
    pub fn multiply(&self, product: &Product) -> Result<()> {
        self.driver.multiply(product)
    }
}

impl Array {
    /// Sizes of the dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// Type of the elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// The device.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The address of its first element.
    pub fn address(&self) -> Address {
        self.memory.address + self.offset as u64
    }

    /// An uninitialised array of the same type.
    pub fn like(&self, dims: &[usize]) -> Result<Array> {
        self.context.array(dims, self.element)
    }

    /// A view of the same memory: an array of `dims` that begins at element `start`.
    pub fn part(&self, start: usize, dims: &[usize]) -> Array {
        let count: usize = dims.iter().product();
        assert!(start + count <= self.count(), "{dims:?} from {start} of {:?}", self.dims);
        let offset = self.offset + start * self.element.width();
        Array { offset, dims: dims.to_vec(), sum: None, ..self.clone() }
    }

    /// The same parameter, whose gradients go to `sum`.
    pub fn with_sum(self, sum: Array) -> Array {
        assert_eq!((sum.element, sum.dims()), (Element::F32, self.dims()), "a sum of gradients");
        Array { sum: Some(Box::new(sum)), ..self }
    }

    /// Where the gradients of this parameter are summed.
    ///
    /// # Panics
    /// On an array that is not a parameter.
    pub fn sum(&self) -> &Array {
        self.sum.as_deref().unwrap_or_else(|| panic!("{:?} is no parameter", self.dims))
    }

    /// Fills it with zeros.
    pub fn clear(&self) -> Result<()> {
        self.memory.driver.clear(self.address(), self.count() * self.element.width())
    }

    /// Overwrites it with `bytes`.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        assert_eq!(bytes.len(), self.count() * self.element.width(), "bytes of {:?}", self.dims);
        self.memory.driver.write(self.address(), bytes)
    }

    /// Its bytes, once everything queued before has run.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.count() * self.element.width()];
        self.memory.driver.read(self.address(), &mut bytes)?;
        Ok(bytes)
    }

    /// Its numbers.
    ///
    /// # Panics
    /// On arrays of integers.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        let bytes = self.read()?;
        Ok(match self.element {
            Element::Bf16 => {
                let words = bytes.chunks_exact(2);
                words.map(|word| bf16::from_le_bytes([word[0], word[1]]).to_f32()).collect()
            }
            Element::F32 => {
                let words = bytes.chunks_exact(4);
                words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
            }
            Element::I32 | Element::Word64 => panic!("integers are no numbers"),
        })
    }
}

impl From<&Array> for Argument {
    fn from(array: &Array) -> Argument {
        Argument::Pointer(Some(array.address()))
    }
}

impl From<Option<&Array>> for Argument {
    fn from(array: Option<&Array>) -> Argument {
        Argument::Pointer(array.map(Array::address))
    }
}
