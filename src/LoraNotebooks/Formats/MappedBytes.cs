using System.IO.MemoryMappedFiles;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>A stretch of a memory-mapped file, mapped as long as this lives.</summary>
internal sealed unsafe class MappedBytes : IDisposable
{
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _start;
    private readonly long _length;

    public MappedBytes(MemoryMappedFile map, long offset, long length)
    {
        _length = length;
        _view = map.CreateViewAccessor(offset, length, MemoryMappedFileAccess.Read);
        byte* page = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref page);

        // Mappings begin at whole pages, somewhat before what was asked for.
        _start = page + _view.PointerOffset;
    }

    /// <summary>The bytes of a stretch of less than 2 GB.</summary>
    public ReadOnlySpan<byte> Span => new(_start, checked((int)_length));

    /// <summary>Copies all bytes into a contiguous tensor of that size on the CPU.</summary>
    public void CopyTo(Tensor tensor)
    {
        fixed (byte* target = tensor.bytes)
        {
            Buffer.MemoryCopy(_start, target, _length, _length);
        }
    }

    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
    }
}
