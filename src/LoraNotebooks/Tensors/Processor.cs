using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using System.Text;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Tensors;

/// <summary>A processor by name and number. Two kinds of processor round differently, so that numbers tell little without it.</summary>
public sealed partial record Processor
{
    private const string Unknown = "unknown";

    private static readonly Lazy<Processor> Read = new(ReadCurrent);

    /// <summary>The processor of this machine.</summary>
    public static Processor Current => Read.Value;

    /// <summary>Who made it, as it says itself, e.g. <c>AuthenticAMD</c>; of an Arm design the number of its implementer.</summary>
    public required string Vendor { get; init; }

    /// <summary>What its maker calls it. In a virtual machine that may be as little as <c>AMD EPYC</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The generation, with <see cref="Model"/> the surest name of it; null if it is not told. Of an Arm design the architecture's version.</summary>
    public int? Family { get; init; }

    /// <summary>The model in its family; of an Arm design the part's number.</summary>
    public int? Model { get; init; }

    /// <summary>The revision of the model.</summary>
    public int? Stepping { get; init; }

    /// <summary>Vector instructions that it has and kernels use, e.g. <c>AVX2</c>.</summary>
    public IReadOnlyList<string> Instructions { get; init; } = [];

    /// <summary>
    /// What libtorch's kernels were told to use: the value of <c>ONEDNN_MAX_CPU_ISA</c>, which bounds oneDNN's instructions, or <c>default</c>.
    /// The one place where a choice of kernels is put into words.
    /// </summary>
    public static string Kernels() => Environment.GetEnvironmentVariable("ONEDNN_MAX_CPU_ISA") is { Length: > 0 } bound ? bound : "default";

    /// <summary>Name and numbers, e.g. <c>AMD EPYC (family 26, model 2, stepping 1)</c>.</summary>
    public override string ToString()
    {
        var numbers = new[] { ("family", Family), ("model", Model), ("stepping", Stepping) }.Where(static number => number.Item2 is not null)
            .Select(static number => string.Create(CultureInfo.InvariantCulture, $"{number.Item1} {number.Item2}"));
        return string.Join(", ", numbers) is { Length: > 0 } known ? $"{Name} ({known})" : Name;
    }

    /// <summary>An x86 processor by what its CPUID instruction answers.</summary>
    /// <param name="cpuId">The registers EAX, EBX, ECX and EDX by leaf and subleaf.</param>
    /// <remarks>Source: Intel SDM vol. 2A, table 3-8; AMD APM vol. 3, appendix E.</remarks>
    internal static Processor FromCpuId(Func<int, int, (int Eax, int Ebx, int Ecx, int Edx)> cpuId)
    {
        const int extended = unchecked((int)0x80000000);
        const int lengthOfBrand = 3;
        var (lastLeaf, first, second, third) = cpuId(0, 0);
        var vendor = Text(first, third, second);
        var brand = cpuId(extended, 0).Eax - extended > lengthOfBrand
            ? string.Concat(Enumerable.Range(extended + 2, lengthOfBrand)
                .Select(leaf => cpuId(leaf, 0)).Select(static part => Text(part.Eax, part.Ebx, part.Ecx, part.Edx)))
            : "";
        if (lastLeaf < 1)
        {
            return new Processor { Vendor = vendor, Name = NameOr(brand, vendor) };
        }

        // Family and model have four bits each, and more where those are full.
        var signature = cpuId(1, 0).Eax;
        var (family, model) = ((signature >> 8) & 0xF, (signature >> 4) & 0xF);
        model |= family is 6 or 0xF ? (signature >> 12) & 0xF0 : 0;
        family += family == 0xF ? (signature >> 20) & 0xFF : 0;
        return new Processor { Vendor = vendor, Name = NameOr(brand, vendor), Family = family, Model = model, Stepping = signature & 0xF };
    }

    /// <summary>An Arm processor by the text of Linux' <c>/proc/cpuinfo</c>.</summary>
    internal static Processor FromCpuInfo(string text)
    {
        var facts = text.Split('\n').Select(static line => line.Split(':', 2)).Where(static pair => pair.Length == 2)
            .GroupBy(static pair => pair[0].Trim(), static pair => pair[1].Trim(), StringComparer.OrdinalIgnoreCase)
            .ToDictionary(static group => group.Key, static group => group.First(), StringComparer.OrdinalIgnoreCase);
        var vendor = facts.GetValueOrDefault("CPU implementer", Unknown);
        return new Processor
        {
            Vendor = vendor,
            Name = NameOr(facts.GetValueOrDefault("model name", ""), $"Arm64 of implementer {vendor}"),
            Family = Number(facts.GetValueOrDefault("CPU architecture")),
            Model = Number(facts.GetValueOrDefault("CPU part")),
            Stepping = Number(facts.GetValueOrDefault("CPU revision")),
        };
    }

    /// <summary>A processor by Windows' variable PROCESSOR_IDENTIFIER, e.g. <c>ARMv8 (64-bit) Family 8 Model D4B Revision 0, Qualcomm</c>.</summary>
    internal static Processor FromIdentifier(string text)
    {
        var match = Identifier().Match(text);
        return new Processor
        {
            Vendor = match.Success && match.Groups[5].Value.Trim() is { Length: > 0 } vendor ? vendor : Unknown,
            Name = NameOr(match.Success ? match.Groups[1].Value : text, Unknown),
            Family = Number(match.Groups[2].Value),
            Model = Number("0x" + match.Groups[3].Value),
            Stepping = Number("0x" + match.Groups[4].Value),
        };
    }

    private static Processor ReadCurrent()
    {
        var named = X86Base.IsSupported ? FromCpuId(X86Base.CpuId)
            : OperatingSystem.IsMacOS() ? new Processor { Vendor = "Apple", Name = NameOr(AppleName(), "Apple silicon") }
            : OperatingSystem.IsWindows() ? FromIdentifier(Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? "")
            : File.Exists("/proc/cpuinfo") ? FromCpuInfo(File.ReadAllText("/proc/cpuinfo"))
            : new Processor { Vendor = Unknown, Name = RuntimeInformation.ProcessArchitecture.ToString() };
        return named with { Instructions = [.. VectorInstructions().Where(static pair => pair.Has).Select(static pair => pair.Name)] };
    }

    private static IEnumerable<(string Name, bool Has)> VectorInstructions() =>
    [
        ("SSE4.1", Sse41.IsSupported),
        ("AVX", Avx.IsSupported),
        ("AVX2", Avx2.IsSupported),
        ("FMA", Fma.IsSupported),
        ("AVX512F", Avx512F.IsSupported),
        ("AVX512-BF16", HasFeature(1, static registers => registers.Eax, bit: 5)),
        ("AMX-BF16", HasFeature(0, static registers => registers.Edx, bit: 22)),
        ("NEON", AdvSimd.IsSupported),
        ("dot product", Dp.IsSupported),
    ];

    /// <summary>A bit of CPUID's leaf 7, for instructions that .NET does not name.</summary>
    private static bool HasFeature(int subleaf, Func<(int Eax, int Ebx, int Ecx, int Edx), int> register, int bit)
    {
        const int extendedFeatures = 7;
        return X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= extendedFeatures && ((register(X86Base.CpuId(extendedFeatures, subleaf)) >> bit) & 1) == 1;
    }

    private static string Text(params ReadOnlySpan<int> registers) => Encoding.ASCII.GetString(MemoryMarshal.AsBytes(registers));

    private static string NameOr(string name, string otherwise) => Spaces().Replace(name.Trim('\0', ' '), " ") is { Length: > 0 } clean ? clean : otherwise;

    private static int? Number(string? text)
    {
        var isHex = text?.StartsWith("0x", StringComparison.OrdinalIgnoreCase) == true;
        var style = isHex ? NumberStyles.AllowHexSpecifier : NumberStyles.None;
        return int.TryParse(isHex ? text.AsSpan(2) : text, style, CultureInfo.InvariantCulture, out var number) ? number : null;
    }

    private static unsafe string AppleName()
    {
        var buffer = stackalloc byte[128];
        nuint length = 128;
        return SystemControl("machdep.cpu.brand_string", buffer, ref length, 0, 0) == 0 ? Encoding.UTF8.GetString(buffer, (int)length) : "";
    }

    [LibraryImport("libSystem.dylib", EntryPoint = "sysctlbyname", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.System32)]
    private static unsafe partial int SystemControl(string name, byte* value, ref nuint length, nint newValue, nuint newLength);

    [GeneratedRegex(@"\A(.*?) Family (\d+) Model ([0-9A-Fa-f]+) (?:Stepping|Revision) ([0-9A-Fa-f]+)(?:,(.*))?\z")]
    private static partial Regex Identifier();

    [GeneratedRegex(" {2,}")]
    private static partial Regex Spaces();
}
