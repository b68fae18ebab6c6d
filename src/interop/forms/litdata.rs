//! LitData's form: chunks of tokens for its `TokensLoader`.
//!
//! In → pieces; out → `train/chunk-0-0.bin …` and `train/index.json`, or those of `val`. A chunk is
//! the number of items, here 1 (u32), where it begins and ends (u32 each, from the file's first
//! byte), and the tokens (LitData, `streaming/writer.py`, `_create_chunk`). The loader cuts each
//! chunk into blocks of its own length and drops the remainder at the chunk's end, so a chunk holds
//! a multiple of `sequence` tokens, or of 2¹⁶: a block length that divides it loses nothing except
//! after the last block of all. Cost: the disk's.

use serde_json::{Value, json};

use super::{Output, PieceWriter, Target, Written, encode};
use crate::{
    artifact::manifest::canonical,
    base::{error::Result, io},
    interop::read::Piece,
    shards::TokenWidth,
};

/// The number of tokens that a chunk is a multiple of by default, if it can hold so many.
const MULTIPLE: u64 = 1 << 16;
/// Count of items and their two offsets.
const HEAD_BYTES: u64 = 12;

/// Writes the chunks of a split.
pub struct LitdataWriter {
    directory: std::path::PathBuf,
    folder: &'static str,
    width: TokenWidth,
    chunk_tokens: u64,
    /// Tokens that are still to come, of all and of the open chunk.
    left: u64,
    left_in_chunk: u64,
    output: Option<Output>,
    buffer: Vec<u8>,
    chunks: Vec<Value>,
    written: Vec<Written>,
    chunk_bytes: u64,
}

impl LitdataWriter {
    /// Creates the split's folder; the number of tokens is known in advance.
    pub fn create(target: Target<'_>) -> Result<LitdataWriter> {
        let folder = target.split_name();
        let directory = target.directory.join(folder);
        io::create_directory(&directory)?;
        let tokens = target.config.shard_bytes.0 / target.width.bytes();
        let multiple = target.config.sequence.unwrap_or(MULTIPLE);
        let chunk_tokens = match tokens / multiple {
            0 if target.config.sequence.is_some() => multiple,
            0 => tokens,
            times => times * multiple,
        };
        Ok(LitdataWriter {
            directory,
            folder,
            width: target.width,
            chunk_tokens,
            left: target.tokens,
            left_in_chunk: 0,
            output: None,
            buffer: Vec::new(),
            chunks: Vec::new(),
            written: Vec::new(),
            chunk_bytes: target.config.shard_bytes.0,
        })
    }

    fn begin(&mut self) -> Result<()> {
        let tokens = self.left.min(self.chunk_tokens);
        let name = format!("chunk-0-{}.bin", self.chunks.len());
        let bytes = HEAD_BYTES + tokens * self.width.bytes();
        let mut output = Output::create(&self.directory.join(&name))?;
        for number in [1, HEAD_BYTES as u32, bytes as u32] {
            output.write(&number.to_le_bytes())?;
        }
        let chunk = json!({"chunk_bytes": bytes, "chunk_size": 1, "dim": tokens, "filename": name});
        self.chunks.push(chunk);
        let name = format!("{}/{name}", self.folder);
        self.written.push(Written { name, documents: 0, tokens });
        (self.output, self.left_in_chunk) = (Some(output), tokens);
        Ok(())
    }
}

impl PieceWriter for LitdataWriter {
    fn append(&mut self, piece: Piece<'_>) -> Result<()> {
        let mut rest = piece.tokens;
        let mut starts = piece.starts.iter().peekable();
        let mut at = 0u32;
        while !rest.is_empty() {
            if self.output.is_none() {
                self.begin()?;
            }
            let (now, behind) = rest.split_at(rest.len().min(self.left_in_chunk as usize));
            self.buffer.clear();
            encode(now, self.width, &mut self.buffer);
            if let (Some(output), Some(file)) = (&mut self.output, self.written.last_mut()) {
                output.write(&self.buffer)?;
                at += now.len() as u32;
                while starts.next_if(|start| **start < at).is_some() {
                    file.documents += 1;
                }
            }
            self.left -= now.len() as u64;
            self.left_in_chunk -= now.len() as u64;
            if self.left_in_chunk == 0
                && let Some(output) = self.output.take()
            {
                output.finish()?;
            }
            rest = behind;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Written>> {
        assert_eq!(self.left, 0, "tokens that were announced and did not come");
        // `torch.uint16`; torch computes with no uint32, and no vocabulary needs int32's last bit.
        let kind = match self.width {
            TokenWidth::U16 => "no_header_tensor:20",
            TokenWidth::U32 => "no_header_tensor:15",
        };
        let leaf = json!({"type": null, "context": null, "children_spec": []});
        let config = json!({
            "chunk_bytes": self.chunk_bytes, "chunk_size": null, "compression": null,
            "data_format": [kind], "data_spec": json!([1, leaf]).to_string(), "encryption": null,
            "item_loader": "TokensLoader",
        });
        let index = json!({"chunks": self.chunks, "config": config, "updated_at": "0"});
        let index = canonical(&index).to_string();
        io::write(&self.directory.join("index.json"), index.as_bytes())?;
        Ok(self.written)
    }
}
