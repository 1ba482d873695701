namespace LoraNotebooks.Diffusion;

/// <summary>Makes a sampler for one run.</summary>
/// <param name="config">Schedule and settings, as <see cref="SamplerDeclaration.Settings"/> left them.</param>
/// <param name="steps">n, the number of steps.</param>
/// <param name="eta">η, 0 or more; 0 for samplers that do not use it.</param>
public delegate Sampler SamplerFactory(SchedulerConfig config, int steps, double eta);

/// <summary>All that is known of a sampler beside its formula. <see cref="SamplerKind.Register"/> makes it one that can be chosen.</summary>
/// <param name="Name">
/// The name that files spell it by, such as "EulerAncestral"; for the library's own also that of <see cref="SamplerKind"/>'s property.
/// </param>
/// <param name="Create">Makes one for a run.</param>
/// <example><code>
/// SamplerKind.Register(new("Lcm", (config, steps, _) => new LcmSampler(config, steps)) { Title = "LCM" });
/// </code></example>
public sealed record SamplerDeclaration(string Name, SamplerFactory Create)
{
    /// <summary>The name that people read, such as "Euler a": WebUI's, if it has the sampler. Default the <see cref="Name"/>.</summary>
    public string Title { get; init; } = Name;

    /// <summary>Further names that <see cref="SamplerChoice.Parse"/> reads: ComfyUI's and kohya's, where they are others. Default none.</summary>
    public IReadOnlyList<string> OtherNames { get; init; } = [];

    /// <summary>diffusers' class (<see cref="SchedulerConfig.ClassName"/>) that means this sampler where a run names none. Default none does.</summary>
    public string? SchedulerClass { get; init; }

    /// <summary>
    /// Whether it walks along noise levels, which can be spaced (<see cref="SigmaSpacing"/>), rather than along timesteps. Default it does. Where it does not,
    /// no spacing can follow its name, and a grid takes pictures of different spacings for the same.
    /// </summary>
    public bool HasLevels { get; init; } = true;

    /// <summary>Whether it uses η (<see cref="ImageOptions.Eta"/>). Default it does not, and is given 0.</summary>
    public bool UsesEta { get; init; }

    /// <summary>The settings that the sampler stands for where it is named, whatever class the model came with. Default the model's own.</summary>
    public Func<SchedulerConfig, SchedulerConfig> Settings { get; init; } = static config => config;

    /// <summary>Whether settings of <see cref="SchedulerClass"/> mean this one of the samplers that share it. Default all do.</summary>
    internal Func<SchedulerConfig, bool> IsMeantBy { get; init; } = static _ => true;

    /// <summary>Every name that it can be read by.</summary>
    internal IEnumerable<string> Names => [Title, .. OtherNames, Name];
}
