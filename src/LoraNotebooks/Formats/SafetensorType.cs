using System.Buffers.Binary;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>
/// A type of numbers that a safetensors file can hold, and what it becomes in memory. libtorch's own types are copied; the others are read into
/// the smallest type here that holds each of their values exactly.
/// </summary>
/// <param name="Name">Its name in the header.</param>
/// <param name="Memory">The type in memory.</param>
/// <param name="Size">Bytes of one number in the file.</param>
/// <param name="Values">For a type of 8 bits that is not libtorch's: the bits in memory of each of its 256 values.</param>
/// <remarks>
/// Source: huggingface/safetensors, tensor.rs, Dtype. Floats of 8 bits: Micikevicius et al. 2022, arXiv:2209.05433 (E4M3 without infinities, E5M2 like
/// float16's upper half); "FNUZ" have one zero, one NaN at 0x80 and a bias of one more; OCP Microscaling Formats 1.0 (E8M0, powers of two).
/// </remarks>
internal sealed record SafetensorType(string Name, ScalarType Memory, int Size, uint[]? Values = null)
{
    private const int Byte = 256;

    /// <summary>All that are read, by name. Those whose name is a type in memory come first; they are also written.</summary>
    public static readonly IReadOnlyDictionary<string, SafetensorType> All = new SafetensorType[]
    {
        new("BOOL", ScalarType.Bool, 1),
        new("U8", ScalarType.Byte, 1),
        new("I8", ScalarType.Int8, 1),
        new("I16", ScalarType.Int16, 2),
        new("I32", ScalarType.Int32, 4),
        new("I64", ScalarType.Int64, 8),
        new("F16", ScalarType.Float16, 2),
        new("BF16", ScalarType.BFloat16, 2),
        new("F32", ScalarType.Float32, 4),
        new("F64", ScalarType.Float64, 8),
        new("U16", ScalarType.Int32, 2),
        new("U32", ScalarType.Int64, 4),
        new("U64", ScalarType.Int64, 8),
        new("F8_E4M3", ScalarType.Float16, 1, Halves(4, 7, static bits => (bits & 0x7F) == 0x7F)),
        new("F8_E5M2", ScalarType.Float16, 1, [.. Enumerable.Range(0, Byte).Select(static bits => (uint)bits << 8)]),
        new("F8_E4M3FNUZ", ScalarType.Float16, 1, Halves(4, 8, static bits => bits == 0x80)),
        new("F8_E5M2FNUZ", ScalarType.Float16, 1, Halves(5, 16, static bits => bits == 0x80)),
        new(
            "F8_E8M0",
            ScalarType.Float32,
            1,
            [.. Enumerable.Range(0, Byte)
                .Select(static bits => BitConverter.SingleToUInt32Bits(bits == Byte - 1 ? float.NaN : (float)Math.ScaleB(1, bits - 127)))]),
    }.ToDictionary(static type => type.Name, StringComparer.Ordinal);

    /// <summary>Types that the format knows and that are not read: several numbers share bytes, or they are no real numbers.</summary>
    public static readonly IReadOnlySet<string> Unsupported = new HashSet<string>(StringComparer.Ordinal) { "F4", "F6_E2M3", "F6_E3M2", "C64" };

    /// <summary>Whether the bytes in the file are those in memory.</summary>
    public bool IsNative { get; } = Values is null && Name[0] != 'U' || Name == "U8";

    /// <summary>Fills a tensor of the type in memory with the numbers of a file.</summary>
    /// <param name="stored">The bytes in the file.</param>
    /// <param name="tensor">A contiguous tensor of as many numbers on the CPU.</param>
    /// <exception cref="OverflowException">A U64 is beyond what an Int64 holds.</exception>
    public void Convert(ReadOnlySpan<byte> stored, Span<byte> tensor)
    {
        switch (Name)
        {
            case "U16":
                var ints = MemoryMarshal.Cast<byte, int>(tensor);
                for (var i = 0; i < ints.Length; i++)
                {
                    ints[i] = BinaryPrimitives.ReadUInt16LittleEndian(stored[(i * Size)..]);
                }

                break;
            case "U32":
                var longs = MemoryMarshal.Cast<byte, long>(tensor);
                for (var i = 0; i < longs.Length; i++)
                {
                    longs[i] = BinaryPrimitives.ReadUInt32LittleEndian(stored[(i * Size)..]);
                }

                break;
            case "U64":
                var wide = MemoryMarshal.Cast<byte, long>(tensor);
                for (var i = 0; i < wide.Length; i++)
                {
                    wide[i] = checked((long)BinaryPrimitives.ReadUInt64LittleEndian(stored[(i * Size)..]));
                }

                break;
            default:
                if (Memory == ScalarType.Float16)
                {
                    var halves = MemoryMarshal.Cast<byte, ushort>(tensor);
                    for (var i = 0; i < halves.Length; i++)
                    {
                        halves[i] = (ushort)Values![stored[i]];
                    }
                }
                else
                {
                    var singles = MemoryMarshal.Cast<byte, uint>(tensor);
                    for (var i = 0; i < singles.Length; i++)
                    {
                        singles[i] = Values![stored[i]];
                    }
                }

                break;
        }
    }

    /// <summary>The values of a float of 8 bits as bits of float16: (−1)^s·2^(e − bias)·1.m, and 0.m at the smallest e.</summary>
    private static uint[] Halves(int exponentBits, int bias, Func<int, bool> isNaN) =>
    [
        .. Enumerable.Range(0, Byte).Select(bits =>
        {
            var mantissaBits = 7 - exponentBits;
            var (exponent, mantissa) = ((bits & 0x7F) >> mantissaBits, (bits & ((1 << mantissaBits) - 1)) / Math.ScaleB(1, mantissaBits));
            var magnitude = exponent == 0 ? Math.ScaleB(mantissa, 1 - bias) : Math.ScaleB(1 + mantissa, exponent - bias);
            return (uint)BitConverter.HalfToUInt16Bits(isNaN(bits) ? Half.NaN : (Half)(bits >= 0x80 ? -magnitude : magnitude));
        }),
    ];
}
