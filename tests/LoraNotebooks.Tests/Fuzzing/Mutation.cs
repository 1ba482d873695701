using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>Damages files so that readers are likely to trip. The same random numbers give the same damage.</summary>
internal static class Mutation
{
    private const string Mark = "@@here@@";

    private static readonly byte[] TellingBytes =
    [
        0x00, 0xFF, 0x7F, 0x80, (byte)'"', (byte)'\\', (byte)'{', (byte)'}', (byte)'[', (byte)']', (byte)',', (byte)':', (byte)'-', (byte)'9', (byte)'\n',
        (byte)' '
    ];

    /// <summary>Bytes that no UTF-8 text holds: half a character, an encoded surrogate, an overlong zero, UTF-16's byte-order mark.</summary>
    private static readonly byte[][] WrongUtf8 = [[0xC3, 0x28], [0xED, 0xA0, 0x80], [0xC0, 0x80], [0xFF, 0xFE], [0xF5, 0x90, 0x80, 0x80]];

    private static readonly ulong[] TellingLengths =
    [
        0, 1, 2, 7, 8, 99_999_999, 100_000_001, int.MaxValue, uint.MaxValue, long.MaxValue, long.MaxValue - 7, 1UL << 63, ulong.MaxValue, ulong.MaxValue - 7
    ];

    /// <summary>JSON values, most of them wrong anywhere: other types, numbers at the ends of their ranges, literals that JSON lacks, depth, size.</summary>
    private static readonly string[] Values =
    [
        "null", "true", "false", "0", "-0", "1", "-1", "2", "3", "64", "1000", "65536", "2000000", "0.5", "1.0", "-1e-9", "1e-400", "1e15", "1e308", "1e999",
        "-1e999",
        "2147483647", "-2147483648", "2147483648", "4294967296", "9223372036854775807", "-9223372036854775808", "9223372036854775808", new string('9', 400),
        "NaN", "Infinity", "-Infinity", "\"NaN\"", "\"Infinity\"", "\"\"", "\" \"", "\"a\"", "\"1\"", "\"\\ud800\"", "\"\\udc00\\ud800\"", "\"\\u0000\"",
        "\"\\", "'a'", "\"../../a\"", "\"/\"",
        "\"(\"", "\"[\"", "\".*\"", "\"(.*.*.*)*x\"", "\"(?:(?:a{999}){999}){999}\"", "\"\\\\1(\"", "\"" + new string('x', 20_000) + "\"", "[]", "{}", "[[]]",
        "[null]", "[1,2,3]", "[0,-1]", "[1e999]",
        "[65536,65536]", "[4611686018427387904,4]", "[0,9223372036854775807]", "[9223372036854775807,0]", "[\"a\",null]", "{\"a\":1}", "{\"\":{}}",
        "{\"\\ud800\":1}", "{\"a\":1,\"a\":2}",
        Repeated("1", 100), Repeated("1", 2_000), Repeated("\"a\"", 2_000), Deep('[', ']', 10_000), Deep('[', ']', 63), new string('[', 10_000),
        string.Concat(Enumerable.Repeat("{\"a\":", 10_000)) + "1" + new string('}', 10_000),
        "\"" + string.Concat(Enumerable.Repeat("\\\"", 20_000)), // one text that never ends
    ];

    /// <summary>Damages bytes of any meaning.</summary>
    public static byte[] Bytes(Random random, byte[] original)
    {
        var bytes = original.ToList();
        for (var times = random.Next(1, 4); times > 0; times--)
        {
            var at = random.Next(bytes.Count + 1);
            var length = Math.Min(random.Next(1, 64), bytes.Count - at);
            switch (random.Next(9))
            {
                case 0 when at < bytes.Count:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1 when at < bytes.Count:
                    bytes[at] = Any(random, TellingBytes);
                    break;
                case 2:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                case 3:
                    bytes.RemoveRange(at, length);
                    break;
                case 4:
                    bytes.InsertRange(at, bytes.GetRange(at, length));
                    break;
                case 5:
                    bytes.InsertRange(at, Any(random, WrongUtf8));
                    break;
                case 6:
                    bytes.AddRange(Enumerable.Range(0, random.Next(1, 2_000)).Select(_ => (byte)random.Next(256)));
                    break;
                case 7:
                    bytes.InsertRange(0, [0xEF, 0xBB, 0xBF]);
                    break;
                default:
                    bytes.InsertRange(at, Encoding.UTF8.GetBytes(Any(random, Values)));
                    break;
            }
        }

        return [.. bytes];
    }

    /// <summary>
    /// Damages the structure of a JSON text: a value of another kind, a key gone, twice or renamed, a piece of the text elsewhere. One
    /// time in four its bytes.
    /// </summary>
    public static byte[] Json(Random random, byte[] original) =>
        random.Next(4) == 0 ? Bytes(random, original) : Encoding.UTF8.GetBytes(Json(random, Encoding.UTF8.GetString(original)));

    /// <summary>Damages a safetensors file: its header's length, its header, its data.</summary>
    public static byte[] Safetensors(Random random, byte[] original)
    {
        var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(original);
        var (header, data) = (original.AsSpan(8, length).ToArray(), original.AsSpan(8 + length).ToArray());
        switch (random.Next(8))
        {
            case 0:
                return Bytes(random, original);
            case 1:
                BinaryPrimitives.WriteUInt64LittleEndian(
                    original = [.. original],
                    random.Next(2) == 0 ? Any(random, TellingLengths) : (ulong)(length + random.Next(-9, 10)));
                return original;
            case 2:
                data = Bytes(random, data);
                break;
            case 3:
                header = Numbers(random, header, data.Length);
                break;
            default:
                header = Json(random, header);
                break;
        }

        var prefix = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)header.Length);
        return [.. prefix, .. header, .. data];
    }

    /// <summary>
    /// Damages a list of merges: lines gone, twice, swapped, reversed so that they run in circles, of other symbols. One time in four its bytes.
    /// </summary>
    public static byte[] Lines(Random random, byte[] original)
    {
        if (random.Next(4) == 0)
        {
            return Bytes(random, original);
        }

        var lines = Encoding.UTF8.GetString(original).Split('\n').ToList();
        for (var times = random.Next(1, 6); times > 0 && lines.Count > 1; times--)
        {
            var (at, other) = (random.Next(lines.Count), random.Next(lines.Count));
            switch (random.Next(9))
            {
                case 0:
                    lines.RemoveAt(at);
                    break;
                case 1:
                    lines.Insert(other, lines[at]);
                    break;
                case 2:
                    (lines[at], lines[other]) = (lines[other], lines[at]);
                    break;
                case 3:
                    lines.Insert(at, string.Join(' ', lines[at].Split(' ').Reverse()));
                    break;
                case 4:
                    lines[at] = lines[at].Replace(" ", "", StringComparison.Ordinal);
                    break;
                case 5:
                    lines[at] = string.Concat(Enumerable.Repeat(lines[at], 300));
                    break;
                case 6:
                    lines[at] = Any(random, [" ", "\t", "a\tb", "a  b", " a", "a ", "a\0 b", "a</w> a</w>", "a a", "#version: 9", "\r", "\"a\" b"]);
                    break;
                case 7:
                    lines[at] += "\r";
                    break;
                default:
                    lines[at] = $"{lines[at].Split(' ')[0]} {lines[other].Split(' ')[^1]}";
                    break;
            }
        }

        return Encoding.UTF8.GetBytes(string.Join('\n', lines));
    }

    /// <summary>Damages texts of lines that are JSON objects.</summary>
    public static byte[] JsonLines(Random random, byte[] original)
    {
        var lines = Encoding.UTF8.GetString(original).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var at = random.Next(lines.Length);
        lines[at] = Json(random, lines[at]);
        return random.Next(4) == 0 ? Lines(random, original) : Encoding.UTF8.GetBytes(string.Join('\n', lines));
    }

    private static string Json(Random random, string json)
    {
        for (var times = random.Next(1, 3); times > 0; times--)
        {
            JsonNode? root;
            try
            {
                root = JsonNode.Parse(json);
                if (root is null || Places(root).ToList() is not { Count: > 0 } places)
                {
                    return Any(random, Values);
                }

                json = Change(random, root, Any(random, places), places);
            }
            catch (Exception error) when (error is JsonException or ArgumentException or InvalidOperationException)
            {
                break; // The first damage made it unreadable.
            }
        }

        return json;
    }

    private static string Change(Random random, JsonNode root, (JsonNode Parent, object Key) place, IReadOnlyList<(JsonNode Parent, object Key)> places)
    {
        var former = Get(place)?.ToJsonString() ?? "null";
        switch (random.Next(8))
        {
            case 0 when place.Parent is JsonObject parent:
                parent.Remove((string)place.Key);
                return root.ToJsonString();
            case 0:
                ((JsonArray)place.Parent).RemoveAt((int)place.Key);
                return root.ToJsonString();
            case 1:
                Set(place, Mark);
                var twin = place.Key is string key
                    ? $"{former},{JsonSerializer.Serialize(key)}:{Any(random, [former, Any(random, Values)])}"
                    : $"{former},{former}";
                return Replaced(root, twin);
            case 2 when place.Parent is JsonObject parent:
                parent.Remove((string)place.Key);
                parent.TryAdd(Any(random, [(string)place.Key + "x", "", "__metadata__", "weight_map", "../a"]), JsonNode.Parse(former));
                return root.ToJsonString();
            case 3:
                Set(place, Mark);
                return Replaced(root, Get(Any(random, places))?.ToJsonString() ?? "null");
            case 4:
                return Any(
                    random,
                    [
                        $"[{root.ToJsonString()}]",
                        root.ToJsonString() + "x",
                        root.ToJsonString()[..random.Next(root.ToJsonString().Length)],
                        "",
                        " ",
                        Any(random, Values)
                    ]);
            default:
                Set(place, Mark);
                return Replaced(root, Any(random, Values));
        }
    }

    private static IEnumerable<(JsonNode Parent, object Key)> Places(JsonNode? node)
    {
        IEnumerable<(object Key, JsonNode? Child)> children = node switch
        {
            JsonObject o => o.Select(static pair => ((object)pair.Key, pair.Value)),
            JsonArray a => a.Select(static (item, index) => ((object)index, item)),
            _ => [],
        };
        foreach (var (key, child) in children)
        {
            yield return (node!, key);
            foreach (var place in Places(child))
            {
                yield return place;
            }
        }
    }

    private static JsonNode? Get((JsonNode Parent, object Key) place) => place.Key is string key ? place.Parent[key] : place.Parent[(int)place.Key];

    private static void Set((JsonNode Parent, object Key) place, string value)
    {
        if (place.Key is string key)
        {
            place.Parent[key] = value;
        }
        else
        {
            place.Parent[(int)place.Key] = value;
        }
    }

    private static string Replaced(JsonNode root, string raw) => root.ToJsonString().Replace($"\"{Mark}\"", raw, StringComparison.Ordinal);

    /// <summary>Puts another number in place of one of the header's.</summary>
    private static byte[] Numbers(Random random, byte[] header, long dataLength)
    {
        var text = Encoding.UTF8.GetString(header);
        var starts = Enumerable.Range(0, text.Length).Where(i => char.IsAsciiDigit(text[i]) && (i == 0 || !char.IsAsciiDigit(text[i - 1]))).ToList();
        if (starts.Count == 0)
        {
            return Bytes(random, header);
        }

        var start = Any(random, starts);
        var end = start;
        while (end < text.Length && char.IsAsciiDigit(text[end]))
        {
            end++;
        }

        var number = Any(
            random,
            [
                dataLength, dataLength + 1, dataLength - 1, 0, 1, -1, 3, 4, 8, long.MaxValue, long.MinValue, 1L << 62, 1L << 32,
                random.Next((int)dataLength + 2)
            ]);
        return Encoding.UTF8.GetBytes(text[..start] + number.ToString(CultureInfo.InvariantCulture) + text[end..]);
    }

    public static T Any<T>(Random random, IReadOnlyList<T> items) => items[random.Next(items.Count)];

    private static string Repeated(string item, int times) => $"[{string.Join(',', Enumerable.Repeat(item, times))}]";

    private static string Deep(char open, char close, int depth) => new string(open, depth) + new string(close, depth);
}
