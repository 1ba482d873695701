using System.Globalization;
using System.Text.Json;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>One entry of a safetensors header.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="DType">
/// The type of its elements in memory; of a type that libtorch does not have, e.g. floats of 8 bits, the smallest that holds all its values.
/// </param>
/// <param name="Shape">Its shape; empty for a scalar.</param>
/// <param name="Offset">The first byte, counted from the end of the header.</param>
/// <param name="Length">The number of bytes.</param>
public sealed record SafetensorInfo(string Name, ScalarType DType, IReadOnlyList<long> Shape, long Offset, long Length)
{
    /// <summary>The number of elements.</summary>
    public long Count => Shape.Aggregate(1L, static (product, size) => product * size);

    /// <summary>The name of the elements' type in the file, e.g. "F16" or "F8_E4M3".</summary>
    public required string StoredType { get; init; }
}

/// <summary>Reads and checks the JSON header of a safetensors file (huggingface/safetensors, README "Format").</summary>
internal static class SafetensorsHeader
{
    /// <summary>The largest header that upstream accepts: 100 MB.</summary>
    public const long MaxLength = 100_000_000;

    /// <summary>How many bytes tell another kind of file.</summary>
    public const int Beginning = 64;

    private const int LengthBytes = 8;

    /// <summary>Refuses what is sound but another kind of file: downloading it again would not help.</summary>
    /// <param name="beginning">The file's first bytes.</param>
    /// <param name="path">The file, for messages.</param>
    /// <exception cref="InvalidDataException">It is one of those; the message says which, and what to do.</exception>
    public static void RefuseOtherKinds(ReadOnlySpan<byte> beginning, string path)
    {
        if (beginning[LengthBytes] == (byte)'{')
        {
            // The length before the header may look like another kind's mark.
            return;
        }

        var text = beginning.TrimStart("\uFEFF \r\n\t"u8);
        var kind =
            beginning.StartsWith("PK\x03\x04"u8) || (beginning[0] == 0x80 && beginning[1] is >= 2 and <= 5)
                ? "a pickled PyTorch file, which is not read because reading one can run any code that is hidden in it. Expected safetensors: "
                    + "download that, or load it where running its code does no harm and save it with safetensors.torch.save_file"
            : beginning.StartsWith("GGUF"u8) ? "a GGUF file, whose quantized weights are not supported. Expected safetensors: take the model it was made from"
            : text.StartsWith("version https://git-lfs"u8)
                ? "a pointer of Git LFS in place of the file itself. Expected the file: fetch it with `git lfs pull`, or download it"
            : text.StartsWith("<"u8)
                ? "a web page, probably one that asks to log in or says that something is missing. Expected the file: "
                    + "download it in the browser, or with an access token"
            : null;
        if (kind is not null)
        {
            throw new InvalidDataException($"'{path}' is no safetensors file but {kind}.");
        }
    }

    public static (string Name, int Size) Describe(ScalarType type)
    {
        var native = SafetensorType.All.Values.Where(static entry => entry.IsNative).ToList();
        return native.Find(entry => entry.Memory == type) is { } found
            ? (found.Name, found.Size)
            : throw new ArgumentException(
                $"A safetensors file cannot hold {type}; expected one of {string.Join(", ", native.Select(static entry => entry.Memory))}. "
                    + "Convert the tensor first.");
    }

    /// <summary>Parses the header and checks every entry; all faults are reported in one error.</summary>
    /// <param name="json">The header's bytes.</param>
    /// <param name="dataLength">The bytes that follow the header.</param>
    /// <param name="path">The file, for messages.</param>
    public static (List<SafetensorInfo> Tensors, Dictionary<string, string> Metadata) Parse(ReadOnlySpan<byte> json, long dataLength, string path)
    {
        var tensors = new List<SafetensorInfo>();
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        var faults = new Faults();
        var unsupported = new List<string>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        try
        {
            var reader = new Utf8JsonReader(json);
            Expect(reader.Read() && reader.TokenType == JsonTokenType.StartObject, "the header is not a JSON object");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var name = reader.GetString()!;
                faults.Require(names.Add(name), $"'{name}' appears twice");
                using var value = Next(ref reader);
                if (name == "__metadata__")
                {
                    ReadMetadata(value.RootElement, metadata, faults);
                }
                else if (ReadTensor(name, value.RootElement, dataLength, faults, unsupported) is { } tensor)
                {
                    tensors.Add(tensor);
                }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"{path} is not a safetensors file: its header cannot be read ({e.Message}). Download or save the file again.", e);
        }

        if (unsupported.Count == 0)
        {
            CheckLayout(tensors, dataLength, faults);
        }

        Faults.ThrowIfAny(faults, found => new InvalidDataException(
            $"{path} has a faulty safetensors header: {Listing.Inline(found, "; ")}. Download or save the file again."));
        Faults.ThrowIfAny(unsupported, found => new InvalidDataException(
            $"{path} holds numbers of types that are not supported here, though the file may be sound: {Listing.Inline(found)}. "
                + $"Expected {string.Join(", ", SafetensorType.All.Keys)}; convert the file to F16, BF16 or F32 with the tool that made it."));
        return (tensors, metadata);
    }

    private static JsonDocument Next(ref Utf8JsonReader reader)
    {
        reader.Read();
        return JsonDocument.ParseValue(ref reader);
    }

    private static void ReadMetadata(JsonElement value, Dictionary<string, string> metadata, Faults faults)
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            faults.Add("__metadata__ is not an object");
            return;
        }

        foreach (var entry in value.EnumerateObject())
        {
            if (entry.Value.ValueKind == JsonValueKind.String)
            {
                metadata[entry.Name] = entry.Value.GetString()!;
            }
            else
            {
                faults.Add($"__metadata__['{entry.Name}'] is {entry.Value.ValueKind}, expected a string");
            }
        }
    }

    private static SafetensorInfo? ReadTensor(string name, JsonElement value, long dataLength, Faults faults, List<string> unsupported)
    {
        if (value.ValueKind != JsonValueKind.Object
            || !value.TryGetProperty("dtype", out var dtype) || dtype.ValueKind != JsonValueKind.String
            || !value.TryGetProperty("shape", out var shape) || shape.ValueKind != JsonValueKind.Array
            || !value.TryGetProperty("data_offsets", out var offsets) || offsets.ValueKind != JsonValueKind.Array || offsets.GetArrayLength() != 2)
        {
            faults.Add($"'{name}' needs dtype, shape and two data_offsets");
            return null;
        }

        if (!SafetensorType.All.TryGetValue(dtype.GetString()!, out var type))
        {
            if (SafetensorType.Unsupported.Contains(dtype.GetString()!))
            {
                unsupported.Add($"{dtype.GetString()} ('{name}')");
            }
            else
            {
                faults.Add($"'{name}' has the unknown dtype {dtype.GetString()}, expected one of {string.Join(", ", SafetensorType.All.Keys)}");
            }

            return null;
        }

        var sizes = new List<long>();
        foreach (var size in shape.EnumerateArray())
        {
            if (size.ValueKind != JsonValueKind.Number || !size.TryGetInt64(out var length) || length < 0)
            {
                faults.Add($"'{name}' has the size {size.GetRawText()} in its shape, expected a number of 0 or more");
                return null;
            }

            sizes.Add(length);
        }

        if (!offsets[0].TryGetInt64(out var begin) || !offsets[1].TryGetInt64(out var end) || begin < 0 || end < begin || end > dataLength)
        {
            faults.Add($"'{name}' has data_offsets {offsets.GetRawText()}, expected 0 ≤ begin ≤ end ≤ {dataLength}");
            return null;
        }

        var bytes = (Int128)type.Size;
        foreach (var size in sizes)
        {
            bytes *= size;
            if (bytes > long.MaxValue)
            {
                break;
            }
        }

        if (bytes != end - begin)
        {
            faults.Add(string.Create(CultureInfo.InvariantCulture,
                $"'{name}' of shape [{string.Join(", ", sizes)}] and dtype {dtype.GetString()} needs {bytes} bytes, its data_offsets give {end - begin}"));
            return null;
        }

        return new SafetensorInfo(name, type.Memory, sizes, begin, end - begin) { StoredType = type.Name };
    }

    /// <summary>Upstream allows neither overlaps nor holes: the tensors cover the data from its first to its last byte.</summary>
    private static void CheckLayout(List<SafetensorInfo> tensors, long dataLength, Faults faults)
    {
        if (faults.Count > 0)
        {
            return;
        }

        var position = 0L;
        foreach (var tensor in tensors.OrderBy(static t => t.Offset).ThenBy(static t => t.Length))
        {
            if (tensor.Offset != position)
            {
                faults.Add(tensor.Offset < position
                    ? $"'{tensor.Name}' begins at {tensor.Offset} and overlaps the tensor before it, which ends at {position}"
                    : $"bytes {position} to {tensor.Offset} before '{tensor.Name}' belong to no tensor");
            }

            position = Math.Max(position, tensor.Offset + tensor.Length);
        }

        faults.Require(position == dataLength || faults.Count > 0, $"the tensors end at {position}, the file has {dataLength} bytes of data");
    }

    private static void Expect(bool condition, string fault)
    {
        if (!condition)
        {
            throw new JsonException(fault);
        }
    }
}
