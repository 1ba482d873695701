using System.IO.MemoryMappedFiles;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>A stretch of a memory-mapped file, mapped as long as this lives.</summary>
internal sealed unsafe class MappedBytes : IDisposable
{
    private readonly MemoryMappedViewAccessor view;
    private readonly byte* start;
    private readonly long length;

    public MappedBytes(MemoryMappedFile map, long offset, long length)
    {
        this.length = length;
        view = map.CreateViewAccessor(offset, length, MemoryMappedFileAccess.Read);
        byte* page = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref page);

        // Mappings begin at whole pages, somewhat before what was asked for.
        start = page + view.PointerOffset;
    }

    /// <summary>The bytes of a stretch of less than 2 GB.</summary>
    public ReadOnlySpan<byte> Span => new(start, checked((int)length));

    /// <summary>Copies all bytes into a contiguous tensor of that size on the CPU.</summary>
    public void CopyTo(Tensor tensor)
    {
        fixed (byte* target = tensor.bytes)
        {
            Buffer.MemoryCopy(start, target, length, length);
        }
    }

    public void Dispose()
    {
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
    }
}
