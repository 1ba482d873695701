using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Text.Encodings.Web;
using System.Text.Json;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>
/// A safetensors file, memory-mapped: opening it reads and checks the header, and a tensor's bytes are touched when it is loaded. Only the
/// tensor that is being loaded is mapped, so that the file's pages never add up in the process's resident memory.
/// </summary>
/// <remarks>
/// Layout (huggingface/safetensors): 8 bytes little-endian header length N, N bytes of JSON, then the tensors' bytes
/// in row-major order without gaps. No code is ever executed by reading one, unlike a pickle.
/// </remarks>
public sealed class SafetensorsFile : IDisposable
{
    private const int PrefixLength = sizeof(ulong);
    private const long ConvertedAtOnce = 1 << 20;

    private readonly MemoryMappedFile _map;
    private readonly long _dataStart;
    private bool _disposed;

    private SafetensorsFile(string path, MemoryMappedFile map, long dataStart, List<SafetensorInfo> tensors, Dictionary<string, string> metadata)
    {
        Path = path;
        _map = map;
        _dataStart = dataStart;
        Tensors = tensors.ToDictionary(static t => t.Name, StringComparer.Ordinal);
        Metadata = metadata;
    }

    /// <summary>The file's path as it was given.</summary>
    public string Path { get; }

    /// <summary>The header's <c>__metadata__</c>: flat text to text.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>What the file holds, by name.</summary>
    public IReadOnlyDictionary<string, SafetensorInfo> Tensors { get; }

    /// <summary>Opens a file and checks its header: lengths, offsets, overlaps, dtypes, duplicate names.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a safetensors file or its header lies; every fault is listed.</exception>
    public static SafetensorsFile Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"There is no safetensors file at {path}: expected one there. Check the path, or download the file.", path);
        }

        var length = new FileInfo(path).Length;
        if (length < 10)
        {
            throw new InvalidDataException($"{path} has {length} bytes, a safetensors file has at least 10. Download or save the file again.");
        }

        var map = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        try
        {
            using var prefix = map.CreateViewAccessor(0, PrefixLength, MemoryMappedFileAccess.Read);
            var headerLength = prefix.ReadUInt64(0);
            using (var beginning = new MappedBytes(map, 0, Math.Min(length, SafetensorsHeader.Beginning)))
            {
                SafetensorsHeader.RefuseOtherKinds(beginning.Span, path);
            }

            if (headerLength > (ulong)Math.Min(length - PrefixLength, SafetensorsHeader.MaxLength))
            {
                throw new InvalidDataException(
                    $"{path} is not a safetensors file or is truncated: its first 8 bytes announce a header of {headerLength} bytes, "
                        + $"{length - PrefixLength} bytes follow. Download or save the file again.");
            }

            var dataStart = PrefixLength + (long)headerLength;
            using var header = new MappedBytes(map, PrefixLength, (long)headerLength);
            var (tensors, metadata) = SafetensorsHeader.Parse(header.Span, length - dataStart, path);
            return new SafetensorsFile(path, map, dataStart, tensors, metadata);
        }
        catch
        {
            map.Dispose();
            throw;
        }
    }

    /// <summary>Loads one tensor; the result owns its memory and outlives this file.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="dtype">The type to convert to; by default the stored one.</param>
    /// <param name="device">The device; by default the CPU.</param>
    /// <exception cref="KeyNotFoundException">The file has no such tensor.</exception>
    /// <exception cref="InvalidDataException">An unsigned whole number is too large for Int64.</exception>
    public Tensor Load(string name, ScalarType? dtype = null, Device? device = null)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (!Tensors.TryGetValue(name, out var info))
        {
            throw new KeyNotFoundException($"{Path} has no tensor '{name}'. It has {Tensors.Count}, among them {string.Join(", ", Tensors.Keys.Take(5))}.");
        }

        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var tensor = empty([.. info.Shape], info.DType);
        if (info.Length > 0)
        {
            Fill(tensor, info);
        }

        if (dtype is { } wanted && wanted != info.DType)
        {
            tensor = tensor.to(wanted);
        }

        return (device is null ? tensor : tensor.to(device)).MoveToOuterDisposeScope();
    }

    /// <summary>Loads every tensor of a file.</summary>
    /// <inheritdoc cref="Load"/>
    public static Dictionary<string, Tensor> LoadAll(string path, ScalarType? dtype = null, Device? device = null)
    {
        using var file = Open(path);
        return file.Tensors.Keys.ToDictionary(static name => name, name => file.Load(name, dtype, device), StringComparer.Ordinal);
    }

    /// <summary>
    /// Writes a file: atomically, and always the same bytes for the same content. Tensors are ordered by falling element size and then by name,
    /// as upstream's writer does, so that every tensor starts on a multiple of its element size; metadata is ordered by name.
    /// </summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="tensors">The tensors by name.</param>
    /// <param name="metadata">Flat text to text, or none.</param>
    public static void Write(string path, IReadOnlyDictionary<string, Tensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        var ordered = tensors
            .Select(static pair => (Name: pair.Key, Tensor: pair.Value, Type: SafetensorsHeader.Describe(pair.Value.dtype)))
            .OrderByDescending(static t => t.Type.Size).ThenBy(static t => t.Name, StringComparer.Ordinal)
            .ToList();
        AtomicFile.Write(path, stream =>
        {
            var header = Header(ordered, metadata);
            Span<byte> prefix = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)header.Length);
            stream.Write(prefix);
            stream.Write(header);
            foreach (var (_, tensor, _) in ordered)
            {
                using var scope = NewDisposeScope();
                using var noGrad = no_grad();
                var plain = tensor.detach().cpu().contiguous();
                if (plain.numel() > 0)
                {
                    stream.Write(plain.bytes);
                }
            }
        });
    }

    /// <summary>Releases the mapping; loaded tensors stay valid.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _map.Dispose();
        }
    }

    /// <summary>Copies what libtorch has a type for, else converts it, in stretches that a span can hold.</summary>
    private void Fill(Tensor tensor, SafetensorInfo info)
    {
        var type = SafetensorType.All[info.StoredType];
        if (type.IsNative)
        {
            using var stored = new MappedBytes(_map, _dataStart + info.Offset, info.Length);
            stored.CopyTo(tensor);
            return;
        }

        var flat = tensor.view(-1);
        for (var start = 0L; start < info.Count; start += ConvertedAtOnce)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(ConvertedAtOnce, info.Count - start);
            using var stored = new MappedBytes(_map, _dataStart + info.Offset + (start * type.Size), count * type.Size);
            try
            {
                type.Convert(stored.Span, flat.narrow(0, start, count).bytes);
            }
            catch (OverflowException fault)
            {
                throw new InvalidDataException(
                    $"{Path}: '{info.Name}' holds a number of type {type.Name} that is too large for {type.Memory}, "
                        + $"expected at most {long.MaxValue}. Save it in another type.",
                    fault);
            }
        }
    }

    private static byte[] Header(IEnumerable<(string Name, Tensor Tensor, (string Name, int Size) Type)> ordered, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata.OrderBy(static m => m.Key, StringComparer.Ordinal))
                {
                    json.WriteString(key, value);
                }

                json.WriteEndObject();
            }

            var offset = 0L;
            foreach (var (name, tensor, type) in ordered)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", type.Name);
                json.WriteStartArray("shape");
                foreach (var size in tensor.shape)
                {
                    json.WriteNumberValue(size);
                }

                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += tensor.numel() * type.Size);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        // Spaces up to a multiple of 8 keep the data aligned, as upstream pads it.
        while (buffer.Length % 8 != 0)
        {
            buffer.WriteByte((byte)' ');
        }

        return buffer.ToArray();
    }
}
