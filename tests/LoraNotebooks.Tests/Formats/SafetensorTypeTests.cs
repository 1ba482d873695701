using System.Buffers.Binary;
using System.Text;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

/// <summary>Types of numbers that libtorch does not have: each value against the formula of the format, in float64.</summary>
public sealed class SafetensorTypeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly TorchSharp.DisposeScope _scope = NewDisposeScope();

    public void Dispose()
    {
        _scope.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("F8_E4M3", 4, 7, ScalarType.Float16)]
    [InlineData("F8_E5M2", 5, 15, ScalarType.Float16)]
    [InlineData("F8_E4M3FNUZ", 4, 8, ScalarType.Float16)]
    [InlineData("F8_E5M2FNUZ", 5, 16, ScalarType.Float16)]
    [InlineData("F8_E8M0", 8, 127, ScalarType.Float32)]
    public void Load_FloatsOfEightBits_AreTheFormulasValues(string type, int exponentBits, int bias, ScalarType inMemory)
    {
        var path = Write(type, 256, [.. Enumerable.Range(0, 256).Select(static bits => (byte)bits)]);
        using var file = SafetensorsFile.Open(path);

        var read = file.Load("a");
        var values = read.to(ScalarType.Float64).data<double>().ToArray();

        Assert.Equal((type, inMemory, inMemory), (file.Tensors["a"].StoredType, file.Tensors["a"].DType, read.dtype));
        for (var bits = 0; bits < 256; bits++)
        {
            Assert.Equal(Value(type, bits, exponentBits, bias), values[bits]);
        }

        // As bfloat16 and float32 they are the same numbers.
        foreach (var other in new[] { ScalarType.BFloat16, ScalarType.Float32 })
        {
            Assert.Equal(values, file.Load("a", other).to(ScalarType.Float64).data<double>().ToArray());
        }
    }

    [Fact]
    public void Load_UnsignedWholeNumbers_AreTheirValues()
    {
        var bytes = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, 1UL << 40);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(8), long.MaxValue);

        Assert.Equal([65535L, 258L], Numbers("U16", 2, [255, 255, 2, 1]));
        Assert.Equal([uint.MaxValue], Numbers("U32", 1, [255, 255, 255, 255]));
        Assert.Equal([1L << 40, long.MaxValue], Numbers("U64", 2, bytes));
        using var file = SafetensorsFile.Open(Write("U64", 1, [255, 255, 255, 255, 255, 255, 255, 255]));
        Assert.Contains("too large for Int64", Assert.Throws<InvalidDataException>(() => file.Load("a")).Message);
    }

    [Theory]
    [InlineData("F4", 4, 2)]
    [InlineData("F6_E2M3", 4, 3)]
    [InlineData("C64", 1, 8)]
    public void Open_TypeOfTheFormatThatIsNotRead_IsUnsupportedAndNotDamaged(string type, int count, int bytes)
    {
        var message = Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(Write(type, count, new byte[bytes]))).Message;

        Assert.Contains($"not supported here, though the file may be sound: {type} ('a')", message);
        Assert.Contains("convert the file to F16", message);
        Assert.DoesNotContain("faulty", message);
        Assert.DoesNotContain("Download", message);
    }

    /// <summary>Downloading such a file again would not help, so that is not what is said.</summary>
    [Theory]
    [InlineData("PK\u0003\u0004archive/data.pkl", "pickled PyTorch file")]
    [InlineData("GGUF\u0003\0\0\0more and more", "GGUF")]
    [InlineData("version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull")]
    [InlineData("\n<!DOCTYPE html><html><body>Please log in</body></html>", "web page")]
    public void Open_OfAnotherKindOfFile_SaysWhatItIs(string content, string expected)
    {
        var path = _folder.In("other.safetensors");
        File.WriteAllText(path, content);

        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(path)).Message);
    }

    /// <summary>A header of 640 bytes begins like a pickle, one of 60 like a page.</summary>
    [Theory]
    [InlineData(0x280)]
    [InlineData(60)]
    public void Open_OfAHeaderWhoseLengthLooksLikeAnotherKindsMark_IsRead(int length)
    {
        var path = _folder.In("good.safetensors");
        File.WriteAllBytes(
            path,
            [
                .. BitConverter.GetBytes((ulong)length),
                .. Encoding.UTF8.GetBytes("""{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""".PadRight(length)),
                7
            ]);

        using var file = SafetensorsFile.Open(path);

        Assert.Single(file.Tensors);
    }

    private static double Value(string type, int bits, int exponentBits, int bias)
    {
        if (type == "F8_E8M0")
        {
            return bits == 255 ? double.NaN : Math.Pow(2, bits - bias);
        }

        var mantissaBits = 7 - exponentBits;
        var (sign, e, m) = (bits < 128 ? 1 : -1, (bits & 127) >> mantissaBits, (bits & ((1 << mantissaBits) - 1)) / Math.Pow(2, mantissaBits));
        return type switch
        {
            "F8_E4M3" when (bits & 127) == 127 => double.NaN,
            "F8_E5M2" when e == 31 => m == 0 ? sign * double.PositiveInfinity : double.NaN,
            "F8_E4M3FNUZ" or "F8_E5M2FNUZ" when bits == 128 => double.NaN,
            _ => sign * (e == 0 ? m * Math.Pow(2, 1 - bias) : (1 + m) * Math.Pow(2, e - bias)),
        };
    }

    private long[] Numbers(string type, int count, byte[] data)
    {
        using var file = SafetensorsFile.Open(Write(type, count, data));
        return file.Load("a", ScalarType.Int64).data<long>().ToArray();
    }

    private string Write(string type, int count, byte[] data)
    {
        var header = Encoding.UTF8.GetBytes($$"""{"a": {"dtype":"{{type}}","shape":[{{count}}],"data_offsets":[0,{{data.Length}}] } }""");
        var length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        var path = _folder.In($"{Guid.NewGuid():N}.safetensors");
        File.WriteAllBytes(path, [.. length, .. header, .. data]);
        return path;
    }
}
