using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>
/// Damages what a safetensors file says and leaves it a good file: tensors gone, renamed, exchanged, of other shapes, types and values. So the
/// damage gets past the reader of the header to what makes networks and adapters of the tensors.
/// </summary>
internal static class TensorMutation
{
    private const string Metadata = "__metadata__";
    private const int MostNumbers = 100_000;

    /// <summary>Types by the bytes of a number.</summary>
    private static readonly Dictionary<string, string[]> Alike = new(StringComparer.Ordinal)
    {
        ["F32"] = ["I32"],
        ["I32"] = ["F32"],
        ["F64"] = ["I64"],
        ["I64"] = ["F64"],
        ["F16"] = ["BF16", "I16"],
        ["BF16"] = ["F16", "I16"],
        ["I16"] = ["F16"],
        ["U8"] = ["I8", "BOOL"],
        ["I8"] = ["U8"],
        ["BOOL"] = ["U8"],
    };

    /// <summary>Shapes without a number in them, which a header may give any other size.</summary>
    private static readonly long[][] Empty =
    [
        [0], [0, 4], [4, 0], [0, long.MaxValue], [long.MaxValue, 0], [1L << 32, 0], [0, 1L << 31, 3, 3], [1 << 20, 0], [0, 1 << 20]
    ];

    private static readonly byte[] TellingBytes = [0x00, 0xFF, 0x7F, 0x80, 0x01];

    private static readonly string[] TellingNumbers = ["0", "1", "2", "7", "23", "24", "99999", "2147483648", "99999999999999999999"];

    /// <summary>One time in three any damage of the file, else one of what it says.</summary>
    public static byte[] Any(Random random, byte[] original) => random.Next(3) == 0 ? Mutation.Safetensors(random, original) : Tensors(random, original);

    /// <summary>Damages what a file says.</summary>
    public static byte[] Tensors(Random random, byte[] original)
    {
        var (entries, metadata) = Read(original);
        for (var times = random.Next(1, 4); times > 0 && entries.Count > 0; times--)
        {
            Change(random, entries, random.Next(entries.Count), random.Next(entries.Count));
        }

        return Write(entries, metadata);
    }

    private static void Change(Random random, List<Entry> entries, int at, int other)
    {
        var entry = entries[at];
        switch (random.Next(11))
        {
            case 0:
                entries.RemoveAt(at);
                break;
            case 1:
                entries[at] = entry with { Name = OtherName(random, entry.Name, entries[other].Name) };
                break;
            case 2:
                (entries[at], entries[other]) = (entry with { Name = entries[other].Name }, entries[other] with { Name = entry.Name });
                break;
            case 3:
                entries.Add(entry with { Name = OtherName(random, entry.Name, entries[other].Name) });
                break;
            case 4 or 5:
                entries[at] = entry with { Shape = OtherShape(random, entry.Shape) };
                break;
            case 6:
                entries[at] = entry with { Shape = Mutation.Any(random, Empty), Data = [] };
                break;
            case 7 when entry.Shape.Length > 0:
                entries[at] = Resized(entry, random.Next(entry.Shape.Length), Mutation.Any(random, [0, 1, 2, 3, 7, 64, 100, 1000, MostNumbers]));
                break;
            case 8:
                entries[at] = entry with { Type = Mutation.Any(random, Alike[entry.Type]) };
                break;
            case 9:
                entries[at] = entry with { Data = [.. Enumerable.Repeat(Mutation.Any(random, TellingBytes), entry.Data.Length)] };
                break;
            default:
                entries[at] = entry with { Shape = entries[other].Shape, Type = entries[other].Type, Data = entries[other].Data };
                break;
        }
    }

    private static string OtherName(Random random, string name, string other)
    {
        var (parts, others) = (name.Split('.'), other.Split('.'));
        switch (random.Next(7))
        {
            case 0:
                parts[^1] = others[^1];
                break;
            case 1:
                parts[random.Next(parts.Length)] = Mutation.Any(random, others);
                break;
            case 2:
                parts = parts[1..];
                break;
            case 3:
                parts =
                [
                    .. parts[..^1],
                    Mutation.Any(
                        random,
                        [
                            "alpha", "dora_scale", "lora_mid.weight", "lora_A.weight", "lora_embedding_A", "hada_w1_b", "hada_t1", "lokr_w1", "lokr_w1_a",
                            "lokr_w2", "lokr_w2_b", "lokr_t2", "diff", "bias", "weight"
                        ])
                ];
                break;
            case 4:
                // Numbers count blocks and layers.
                var digits = Enumerable.Range(0, name.Length).Where(i => char.IsAsciiDigit(name[i])).ToList();
                return digits.Count == 0
                    ? name + "0"
                    : name[..Mutation.Any(random, digits)] is var before ? before + Mutation.Any(random, TellingNumbers) + name[(before.Length + 1)..] : name;
            case 5:
                return Mutation.Any(
                    random,
                    [
                        "", ".", "..", name + ".", "." + name, name.ToUpperInvariant(), name.Replace('.', '_'), name.Replace('_', '.'),
                        name + new string('x', 5_000), "é\0" + name
                    ]);
            default:
                parts = [.. parts, Mutation.Any(random, parts)];
                break;
        }

        return string.Join('.', parts);
    }

    /// <summary>The same numbers in another shape.</summary>
    private static long[] OtherShape(Random random, long[] shape)
    {
        var count = shape.Aggregate(1L, static (product, size) => product * size);
        long[] factored = count % 2 == 0 ? [2, count / 2] : [count];
        return Mutation.Any(
            random,
            new long[][]
            {
                [count],
                [count, 1],
                [1, count],
                [.. shape.Reverse()],
                [.. shape, 1],
                [1, .. shape],
                [.. shape.Where(static size => size != 1)],
                factored,
                [count, 1, 1, 1],
                [1, count, 1, 1],
            });
    }

    private static Entry Resized(Entry entry, int axis, long size)
    {
        var shape = entry.Shape.ToArray();
        shape[axis] = size;
        var count = shape.Aggregate(1L, static (product, each) => product * each);
        var width = entry.Data.Length / Math.Max(1, entry.Shape.Aggregate(1L, static (product, each) => product * each));
        if (count > MostNumbers || width == 0)
        {
            return entry;
        }

        var data = new byte[count * width];
        for (var i = 0; i < data.Length; i++)
        {
            data[i] = entry.Data[i % entry.Data.Length];
        }

        return entry with { Shape = shape, Data = data };
    }

    private static (List<Entry> Entries, JsonNode? Metadata) Read(byte[] file)
    {
        var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file);
        var header = JsonNode.Parse(file.AsSpan(8, length))!.AsObject();
        var entries = header.Where(static pair => pair.Key != Metadata).Select(pair =>
        {
            var (begin, end) = ((int)pair.Value!["data_offsets"]![0]!, (int)pair.Value["data_offsets"]![1]!);
            return new Entry(
                pair.Key,
                (string)pair.Value["dtype"]!,
                [.. pair.Value["shape"]!.AsArray().Select(static size => (long)size!)],
                file[(8 + length + begin)..(8 + length + end)]);
        }).ToList();
        return (entries, header[Metadata]?.DeepClone());
    }

    private static byte[] Write(List<Entry> entries, JsonNode? metadata)
    {
        var header = new StringBuilder("{");
        if (metadata is not null)
        {
            header.Append(CultureInfo.InvariantCulture, $"\"{Metadata}\":{metadata.ToJsonString()}");
        }

        var data = new List<byte>();
        foreach (var (name, type, shape, bytes) in entries.DistinctBy(static entry => entry.Name))
        {
            header
                .Append(header.Length > 1 ? "," : "")
                .Append(JsonSerializer.Serialize(name))
                .Append(
                    CultureInfo.InvariantCulture,
                    $":{{\"dtype\":\"{type}\",\"shape\":[{string.Join(',', shape)}],\"data_offsets\":[{data.Count},{data.Count + bytes.Length}]}}");
            data.AddRange(bytes);
        }

        var json = Encoding.UTF8.GetBytes(header.Append('}').ToString());
        var prefix = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)json.Length);
        return [.. prefix, .. json, .. data];
    }

    private sealed record Entry(string Name, string Type, long[] Shape, byte[] Data);
}
