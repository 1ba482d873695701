using System.Text;

namespace LoraNotebooks.Tests.Formats;

/// <summary>Safetensors files put together byte by byte: 8 bytes of length, the header, the data.</summary>
internal static class RawSafetensors
{
    public static byte[] Of(string header, params ReadOnlySpan<byte> data) =>
        [.. BitConverter.GetBytes((ulong)Encoding.UTF8.GetByteCount(header)), .. Encoding.UTF8.GetBytes(header), .. data];

    /// <summary>Tensors one after another in the order given, the header filled up with blanks to a multiple of 8, as upstream's writer does.</summary>
    public static byte[] Of(
        IEnumerable<(string Key, string Value)> metadata,
        params IReadOnlyList<(string Name, string Type, long[] Shape, byte[] Data)> tensors)
    {
        var entries = new List<string>();
        var facts = string.Join(',', metadata.Select(static fact => $"\"{fact.Key}\":\"{fact.Value}\""));
        if (facts.Length > 0)
        {
            entries.Add($"\"__metadata__\":{{{facts}}}");
        }

        var offset = 0;
        foreach (var (name, type, shape, data) in tensors)
        {
            entries.Add($"\"{name}\":{{\"dtype\":\"{type}\",\"shape\":[{string.Join(',', shape)}],\"data_offsets\":[{offset},{offset + data.Length}]}}");
            offset += data.Length;
        }

        var header = $"{{{string.Join(',', entries)}}}";
        var length = (Encoding.UTF8.GetByteCount(header) + 7) / 8 * 8;
        return Of(
            header + new string(' ', length - Encoding.UTF8.GetByteCount(header)),
            tensors.Count == 1 ? tensors[0].Data : [.. tensors.SelectMany(static tensor => tensor.Data)]);
    }

    public static byte[] Bytes(params IEnumerable<float> numbers) => [.. numbers.SelectMany(BitConverter.GetBytes)];
}
