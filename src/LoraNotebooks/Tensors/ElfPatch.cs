using System.Buffers.Binary;
using System.Text;

namespace LoraNotebooks.Tensors;

/// <summary>
/// Marks one symbol version of an ELF64 shared library as optional, so that an older C++ runtime accepts it.
/// </summary>
/// <remarks>
/// TorchSharp 0.107's Linux library asks for <c>GLIBCXX_3.4.32</c> through <c>_ZSt21ios_base_library_initv</c> alone,
/// a start-up hook that older runtimes do not need because they initialise <c>std::cout</c> in every object file.
/// Marking the version need weak (<c>VER_FLG_WEAK</c>) and the symbol weak (<c>STB_WEAK</c>) is what a linker would have
/// written had the reference been weak. Structures: ELF-64 Object File Format; LSB "Symbol Versioning", section 10.7.
/// </remarks>
internal static class ElfPatch
{
    private const uint DynamicSymbols = 11;      // SHT_DYNSYM
    private const uint VersionNeeds = 0x6ffffffe; // SHT_GNU_verneed
    private const ushort WeakFlag = 0x2;          // VER_FLG_WEAK
    private const byte WeakBinding = 2;           // STB_WEAK

    /// <summary>Weakens a version need and a symbol of an ELF64 little-endian image in place.</summary>
    /// <param name="image">The bytes of the shared library.</param>
    /// <param name="version">The version's name, e.g. <c>GLIBCXX_3.4.32</c>.</param>
    /// <param name="symbol">The symbol that carries the version.</param>
    /// <returns><see langword="true"/> if both were found and marked.</returns>
    public static bool Weaken(Span<byte> image, string version, string symbol)
    {
        if (image.Length < 64 || image[0] != 0x7f || image[1] != 'E' || image[2] != 'L' || image[3] != 'F' || image[4] != 2 || image[5] != 1)
        {
            return false;
        }

        var sectionTable = (int)U64(image, 0x28);
        var entrySize = U16(image, 0x3a);
        var count = U16(image, 0x3c);
        var versionMarked = false;
        var symbolMarked = false;

        for (var i = 0; i < count; i++)
        {
            var header = image.Slice(sectionTable + i * entrySize, entrySize);
            var type = U32(header, 4);
            if (type is not (DynamicSymbols or VersionNeeds))
            {
                continue;
            }

            var offset = (int)U64(header, 0x18);
            var size = (int)U64(header, 0x20);
            var stringsHeader = image.Slice(sectionTable + (int)U32(header, 0x28) * entrySize, entrySize);
            var strings = (int)U64(stringsHeader, 0x18);

            if (type == VersionNeeds)
            {
                versionMarked |= WeakenVersion(image, offset, strings, version);
            }
            else
            {
                symbolMarked |= WeakenSymbol(image, offset, size, strings, symbol);
            }
        }

        return versionMarked && symbolMarked;
    }

    private static bool WeakenVersion(Span<byte> image, int need, int strings, string version)
    {
        var marked = false;
        while (true)
        {
            var auxiliaryCount = U16(image, need + 2);
            var auxiliary = need + (int)U32(image, need + 8);
            for (var j = 0; j < auxiliaryCount; j++)
            {
                if (NameAt(image, strings + (int)U32(image, auxiliary + 8)) == version)
                {
                    var flags = (ushort)(U16(image, auxiliary + 4) | WeakFlag);
                    BinaryPrimitives.WriteUInt16LittleEndian(image[(auxiliary + 4)..], flags);
                    marked = true;
                }

                auxiliary += (int)U32(image, auxiliary + 12);
            }

            var next = (int)U32(image, need + 12);
            if (next == 0)
            {
                return marked;
            }

            need += next;
        }
    }

    private static bool WeakenSymbol(Span<byte> image, int offset, int size, int strings, string symbol)
    {
        const int symbolSize = 24;
        for (var at = offset; at + symbolSize <= offset + size; at += symbolSize)
        {
            if (NameAt(image, strings + (int)U32(image, at)) == symbol)
            {
                image[at + 4] = (byte)((image[at + 4] & 0x0f) | (WeakBinding << 4));
                return true;
            }
        }

        return false;
    }

    private static string NameAt(ReadOnlySpan<byte> image, int offset)
    {
        var name = image[offset..];
        return Encoding.ASCII.GetString(name[..name.IndexOf((byte)0)]);
    }

    private static ushort U16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private static ulong U64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes[at..]);
}
