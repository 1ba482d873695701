using System.Text.Json;
using System.Text.Json.Serialization;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// The samplers: ways from noise to a sample. A sampler is one file, its formula (<see cref="Sampler"/>) with what is known of it beside
/// (<see cref="SamplerDeclaration"/>), and one line below. One that is written in a notebook is made known by <see cref="Register"/>.
/// </summary>
/// <remarks>In JSON it is its <see cref="Name"/>.</remarks>
[JsonConverter(typeof(SamplerKindJson))]
public sealed class SamplerKind
{
    private static readonly Lock Changing = new();

    /// <summary>Every kind that there has been, so that one that is registered again is the same that settings hold already.</summary>
    private static readonly Dictionary<string, SamplerKind> Made = new(StringComparer.Ordinal);

    private static volatile IReadOnlyList<SamplerKind> s_all = [];

    private readonly bool _isOwn;
    private volatile SamplerDeclaration? _declaration;

    private SamplerKind(string name, bool isOwn) => (Name, _isOwn) = (name, isOwn);

    /// <summary>Second-order multistep DPM-Solver++ ("DPM++ 2M"; Lu et al. 2022, arXiv:2211.01095).</summary>
    public static SamplerKind DpmPlusPlus2M { get; } = Own(DpmPlusPlusSampler.Second);

    /// <summary>DPM-Solver++ 2M on the SDE: fresh noise at every step ("DPM++ 2M SDE").</summary>
    public static SamplerKind DpmPlusPlus2MSde { get; } = Own(DpmPlusPlusSampler.SecondSde);

    /// <summary>Third-order DPM-Solver++ on the SDE ("DPM++ 3M SDE").</summary>
    public static SamplerKind DpmPlusPlus3MSde { get; } = Own(DpmPlusPlusSampler.ThirdSde);

    /// <summary>Second-order single steps on the SDE, the model asked twice a step ("DPM++ SDE", k-diffusion).</summary>
    public static SamplerKind DpmPlusPlusSde { get; } = Own(MidpointSampler.DpmPlusPlusSde);

    /// <summary>Second-order single steps with fresh noise after each, the model asked twice a step ("DPM++ 2S a", k-diffusion).</summary>
    public static SamplerKind DpmPlusPlus2SAncestral { get; } = Own(MidpointSampler.DpmPlusPlus2SAncestral);

    /// <summary>DPM-Solver-2, the model asked twice a step ("DPM2", k-diffusion).</summary>
    public static SamplerKind Dpm2 { get; } = Own(MidpointSampler.Dpm2);

    /// <summary>DPM-Solver-2 with fresh noise after each step ("DPM2 a", k-diffusion).</summary>
    public static SamplerKind Dpm2Ancestral { get; } = Own(MidpointSampler.Dpm2Ancestral);

    /// <summary>Euler steps that go below the next level and come back with fresh noise ("Euler a").</summary>
    public static SamplerKind EulerAncestral { get; } = Own(EulerSampler.WithNoise);

    /// <summary>Euler's method on the probability-flow ODE (Karras et al. 2022, arXiv:2206.00364).</summary>
    public static SamplerKind Euler { get; } = Own(EulerSampler.Plain);

    /// <summary>Heun's second-order method, which asks the model twice a step (Karras et al. 2022, arXiv:2206.00364, algorithm 1).</summary>
    public static SamplerKind Heun { get; } = Own(HeunSampler.Declaration);

    /// <summary>Fourth-order linear multistep over noise levels ("LMS", k-diffusion).</summary>
    public static SamplerKind Lms { get; } = Own(LmsSampler.Declaration);

    /// <summary>Predictor and corrector in one evaluation ("UniPC"; Zhao et al. 2023, arXiv:2302.04867).</summary>
    public static SamplerKind UniPc { get; } = Own(UniPcSampler.Declaration);

    /// <summary>Denoising diffusion implicit models: deterministic, few steps (Song et al. 2021, arXiv:2010.02502).</summary>
    public static SamplerKind Ddim { get; } = Own(DdimSampler.Declaration);

    /// <summary>Ancestral sampling of the training chain: noise at every step, many steps (Ho et al. 2020, arXiv:2006.11239).</summary>
    public static SamplerKind Ddpm { get; } = Own(DdpmSampler.Declaration);

    /// <summary>Linear multistep on DDIM's formula ("PLMS"; Liu et al. 2022, arXiv:2202.09778), Stable Diffusion 1.x's own.</summary>
    public static SamplerKind Pndm { get; } = Own(PndmSampler.Declaration);

    /// <summary>All samplers that are registered: the library's own, then the others.</summary>
    public static IReadOnlyList<SamplerKind> All => s_all;

    /// <summary>The name that files spell it by: "EulerAncestral".</summary>
    public string Name { get; }

    /// <summary>What is known of it.</summary>
    /// <exception cref="InvalidOperationException">It was unregistered.</exception>
    public SamplerDeclaration Declaration => _declaration ?? throw new InvalidOperationException(Fault);

    /// <summary>Why it cannot be used; <see langword="null"/> if it can.</summary>
    internal string? Fault => _declaration is null
        ? $"The sampler {Name} was unregistered. Register it again by {nameof(SamplerKind)}.{nameof(Register)}, or take one of {string.Join(", ", s_all)}."
        : null;

    /// <summary>
    /// Makes a sampler known: to <see cref="SamplerChoice.Parse"/>, axes of a grid, settings and their files. Registered a second time under its name, e.g. by
    /// a cell that runs again, it takes the place of the first, in settings that hold it, too.
    /// </summary>
    /// <param name="declaration">What is known of it.</param>
    /// <returns>The sampler as settings take it.</returns>
    /// <exception cref="ArgumentException">Another sampler has its name, one of its other names, or its class of diffusers.</exception>
    public static SamplerKind Register(SamplerDeclaration declaration)
    {
        ArgumentNullException.ThrowIfNull(declaration);
        lock (Changing)
        {
            ThrowIfTaken(declaration);
            return Add(declaration, isOwn: false);
        }
    }

    /// <summary>Takes a sampler away. Settings that hold it can be written, but not used, until it is registered again.</summary>
    /// <param name="kind">The sampler.</param>
    /// <exception cref="ArgumentException">It is one of the library's own.</exception>
    public static void Unregister(SamplerKind kind)
    {
        ArgumentNullException.ThrowIfNull(kind);
        if (kind._isOwn)
        {
            throw new ArgumentException($"Got the library's own sampler {kind}, which stays; expected one that {nameof(Register)} returned.");
        }

        lock (Changing)
        {
            s_all = [.. s_all.Where(other => other != kind)];
            kind._declaration = null;
        }
    }

    /// <summary>The sampler of a name that files spell, in any case. What people write is read by <see cref="SamplerChoice.Parse"/>.</summary>
    /// <param name="name">The name.</param>
    /// <exception cref="ArgumentException">There is none; the message lists those there are.</exception>
    public static SamplerKind Named(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return Find(name) ?? throw new ArgumentException(Unknown(name));
    }

    /// <summary>The sampler of a name that files spell, in any case; <see langword="null"/> if there is none.</summary>
    internal static SamplerKind? Find(string name) => s_all.FirstOrDefault(kind => string.Equals(kind.Name, name, StringComparison.OrdinalIgnoreCase));

    /// <summary>What to say where <see cref="Find"/> finds none.</summary>
    internal static string Unknown(string name) =>
        $"Got the sampler '{name}', expected one of {string.Join(", ", s_all)}. One of your own is made known by {nameof(SamplerKind)}.{nameof(Register)}.";

    /// <summary>The name.</summary>
    public override string ToString() => Name;

    private static SamplerKind Own(SamplerDeclaration declaration) => Add(declaration, isOwn: true);

    private static SamplerKind Add(SamplerDeclaration declaration, bool isOwn)
    {
        if (!Made.TryGetValue(declaration.Name, out var kind))
        {
            kind = new SamplerKind(declaration.Name, isOwn);
            Made.Add(kind.Name, kind);
        }

        kind._declaration = declaration;
        s_all = s_all.Contains(kind) ? s_all : [.. s_all, kind];
        return kind;
    }

    private static void ThrowIfTaken(SamplerDeclaration declaration)
    {
        var name = declaration.Name;
        if (Made.TryGetValue(name, out var made) && made._isOwn)
        {
            throw new ArgumentException($"Got a sampler called {name}, expected another name: the library has one of that name. Rename yours.");
        }

        foreach (var text in declaration.Names)
        {
            if (!text.Any(char.IsLetterOrDigit))
            {
                throw new ArgumentException($"Got '{text}' among a sampler's names, expected letters or digits in each; name it such as \"HalfEuler\".");
            }

            // "X Karras" would be read as this sampler with a spacing, or as another sampler of that name.
            string[] readings = declaration.HasLevels ? [text, .. SamplerChoice.SpacingNames.Select(spacing => $"{text} {spacing}")] : [text];
            if (readings.Select(SamplerChoice.Find).FirstOrDefault(found => found is not null && found.Kind.Name != name) is { } taken)
            {
                throw new ArgumentException($"{name}: got the name '{text}', but '{taken}' already is {taken.Kind}; expected names of its own.");
            }
        }

        if (declaration.SchedulerClass is { } scheduler
            && s_all.FirstOrDefault(other => other.Name != name && other.Declaration.SchedulerClass == scheduler) is { } holder)
        {
            throw new ArgumentException($"{name}: {holder} already is what {scheduler} means, expected another class or none.");
        }
    }
}

/// <summary>A sampler as JSON: its name.</summary>
internal sealed class SamplerKindJson : JsonConverter<SamplerKind>
{
    /// <summary>What the numbers mean that indexes of grids once had in place of names; none is added any more.</summary>
    private static readonly SamplerKind[] Numbered =
    [
        SamplerKind.Ddim, SamplerKind.Ddpm, SamplerKind.Euler, SamplerKind.EulerAncestral, SamplerKind.DpmPlusPlus2M,
        SamplerKind.Pndm, SamplerKind.Heun, SamplerKind.Lms, SamplerKind.DpmPlusPlus2MSde, SamplerKind.DpmPlusPlus3MSde,
        SamplerKind.UniPc, SamplerKind.DpmPlusPlusSde, SamplerKind.DpmPlusPlus2SAncestral, SamplerKind.Dpm2, SamplerKind.Dpm2Ancestral,
    ];

    public override SamplerKind Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.Number when reader.TryGetInt32(out var number) && number >= 0 && number < Numbered.Length:
                return Numbered[number];
            case JsonTokenType.String:
                var name = reader.GetString()!;
                return SamplerKind.Find(name) ?? throw new JsonException(SamplerKind.Unknown(name));
            default:
                throw new JsonException($"Got {reader.TokenType} for a sampler, expected its name, one of {string.Join(", ", SamplerKind.All)}.");
        }
    }

    public override void Write(Utf8JsonWriter writer, SamplerKind value, JsonSerializerOptions options) => writer.WriteStringValue(value.Name);
}
