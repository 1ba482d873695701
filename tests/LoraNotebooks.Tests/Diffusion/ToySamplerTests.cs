using System.Text.Json;
using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>
/// Along noise levels: to the estimate of x₀ and up again with fresh noise, as a consistency model is sampled ("LCM"; Luo et al. 2023, arXiv:2310.04378,
/// algorithm 3). As a user would write it in a cell.
/// </summary>
public sealed class LcmSampler(SchedulerConfig config, int steps) : SigmaSampler(config, steps)
{
    public override bool AddsNoise => true;

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        var original = OriginalAt(step, modelOutput, sample);
        return Sigmas[step + 1] == 0 ? original : original + Sigmas[step + 1] * noise();
    }
}

/// <summary>Along timesteps: of the way to the estimate of x₀ each step goes as much as is its share, with η of the other answer, ε.</summary>
public sealed class StraightSampler : Sampler
{
    private readonly double _eta;

    public StraightSampler(SchedulerConfig config, int steps, double eta)
        : base(config)
    {
        _eta = eta;
        Timesteps = WholeTimesteps(steps);
    }

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        double a = Schedule.AlphasCumprod[(int)Timesteps[step]];
        var (signal, sigma) = (Math.Sqrt(a), Math.Sqrt(1 - a));
        var original = Clip(Original(modelOutput, sample, signal, sigma));
        var next = sample + (original - sample) / (Timesteps.Count - step);
        return next - _eta * Noise(modelOutput, sample, signal, sigma);
    }
}

/// <summary>What a user's own sampler is: a class with a formula, and one line that registers it.</summary>
public sealed class ToySamplerTests : IDisposable
{
    private static readonly SchedulerConfig Schedule = SchedulerConfig.StableDiffusion with { PredictionType = PredictionType.Sample };

    private readonly SamplerKind _lcm = SamplerKind.Register(Lcm);
    private readonly SamplerKind _straight = SamplerKind.Register(
        new("Straight", static (config, steps, eta) => new StraightSampler(config, steps, eta)) { HasLevels = false, UsesEta = true });

    private readonly TemporaryFolder _folder = new();

    private static SamplerDeclaration Lcm => new("Lcm", static (config, steps, _) => new LcmSampler(config, steps))
    {
        Title = "LCM",
        OtherNames = ["k_lcm", "consistency"],
        SchedulerClass = "LCMScheduler",
        Settings = static config => config with { StepsOffset = 0 },
    };

    private static SamplerDeclaration Other => new("Other", static (config, steps, _) => new LcmSampler(config, steps));

    public void Dispose()
    {
        SamplerKind.Unregister(_lcm);
        SamplerKind.Unregister(_straight);
        _folder.Dispose();
    }

    [Fact]
    public void Step_AlongNoiseLevels_IsTheFormula()
    {
        using var scope = NewDisposeScope();
        using var sampler = Sampler.Create(Schedule, 3, _lcm);
        var x = tensor(new[] { 1.5, -2 });
        for (var i = 0; i < 3; i++)
        {
            x = sampler.Step(tensor(new[] { 0.25 + i, -1 }), i, x, static () => tensor(new[] { 0.5, 2 }));
            Assert.Equal([0.25 + i + sampler.Sigmas[i + 1] * 0.5, -1 + sampler.Sigmas[i + 1] * 2], x.data<double>().ToArray());
        }

        Assert.Equal(666, sampler.Timesteps[0]); // the settings that it stands for have no offset
        Assert.Equal(0, sampler.Sigmas[^1]);
        Assert.Contains("LcmSampler adds noise", Assert.Throws<ArgumentException>(() => sampler.Step(x, 0, x)).Message);
    }

    [Fact]
    public void Step_AlongTimesteps_IsTheFormula()
    {
        using var scope = NewDisposeScope();
        using var sampler = Sampler.Create(Schedule with { ClipSample = true }, 4, _straight, eta: 0.5);
        double a = new NoiseSchedule(Schedule).AlphasCumprod[751];
        Assert.Equal([751, 501, 251, 1], sampler.Timesteps);

        // x₀ = 0.5 and, as it is clamped to 1, 3: a quarter of the way, less half of ε = (x − √ᾱ·x₀)/√(1−ᾱ) of the unclamped one.
        var next = sampler.Step(tensor(new[] { 0.5, 3.0 }), 0, tensor(new[] { 2.0, -1 }));

        double[] epsilon = [(2 - Math.Sqrt(a) * 0.5) / Math.Sqrt(1 - a), (-1 - Math.Sqrt(a) * 3) / Math.Sqrt(1 - a)];
        Assert.Equal(2 - 1.5 / 4 - 0.5 * epsilon[0], next[0].item<double>(), 1e-12);
        Assert.Equal(-1 + 2.0 / 4 - 0.5 * epsilon[1], next[1].item<double>(), 1e-12);
    }

    [Theory]
    [InlineData("LCM", null)]
    [InlineData("lcm karras", SigmaSpacing.Karras)]
    [InlineData("k_lcm", null)]
    [InlineData("Consistency Exponential", SigmaSpacing.Exponential)]
    public void Parse_ItsNames_AreKnown(string name, SigmaSpacing? spacing)
    {
        Assert.Equal(new SamplerChoice(_lcm, spacing), SamplerChoice.Parse(name));
        Assert.Equal(new SamplerChoice(_lcm, spacing), SamplerChoice.Parse(SamplerChoice.Parse(name).ToString()));
        Assert.Same(_lcm, SamplerKind.Named(_lcm.ToString()));
        Assert.Equal(["LCM", "Straight"], SamplerChoice.Names.TakeLast(2));
        Assert.EndsWith(
            "and all but DDIM, DDPM, PLMS, Straight also with Normal, Karras, Exponential after the name.",
            Assert.Throws<FormatException>(static () => SamplerChoice.Parse("Straight Karras")).Message);
    }

    [Fact]
    public void Generate_ByName_IsWhatItsFormulaDraws()
    {
        using var pipeline = TinyPipeline.Create();
        var options = new GenerationOptions { Prompt = "hair", Steps = 3, Guidance = 1, Seed = 4, Sampler = SamplerChoice.Parse("LCM").Kind };

        var images = pipeline.Generate(options);

        using var scope = NewDisposeScope();
        using var noise = new SeededNoise([4], [3, 8, 8], CPU);
        using var own = new LcmSampler(pipeline.Scheduler with { StepsOffset = 0 }, 3);
        var latents = pipeline.Denoise(noise.Draw(), pipeline.EncodePrompts(["hair"]), null, own, 1, noise.Draw);
        Assert.Equal(RgbImage.FromTensor(pipeline.Decode(latents)[0]).Pixels.ToArray(), images[0].Pixels.ToArray());
        Assert.NotEqual(pipeline.Generate(options with { Sampler = SamplerKind.Euler })[0].Pixels.ToArray(), images[0].Pixels.ToArray());
        Assert.Same(_lcm, Sampler.KindOf(pipeline.Scheduler with { ClassName = "LCMScheduler" }));
    }

    [Fact]
    public void Axis_OfAGrid_IsLabelledWrittenAndReadBack()
    {
        var settings = new XyzSettings { Prompt = "hair", Steps = 2, Width = 16, Height = 16 };
        using var pipeline = TinyPipeline.Create();
        var grid = new XyzGrid(settings, XyzAxis.Sampler("LCM, consistency karras, Euler"));
        Assert.Equal(["LCM", "LCM Karras", "Euler"], grid.X.Labels);

        grid.Run(pipeline).Save(_folder.Path);

        Assert.Contains("    \"sampler\": \"Lcm\",\n", File.ReadAllText(_folder.In("index.json")));
        var entries = XyzIndex.Load(_folder.Path);
        Assert.Equal([_lcm, _lcm, SamplerKind.Euler], entries.Select(static entry => entry.Settings.Sampler));
        Assert.Equal([SigmaSpacing.Timesteps, SigmaSpacing.Karras, SigmaSpacing.Timesteps], entries.Select(static entry => entry.Settings.Spacing));
        using var renderer = new StableDiffusionRenderer(pipeline);
        Assert.All(entries, entry =>
            Assert.Equal(RgbImage.Load(_folder.In(entry.File)).Pixels.ToArray(), renderer.Render(entry.Settings, default).Pixels.ToArray()));
    }

    /// <summary>What makes no difference to it is what it declares, so that cells of one picture are painted once.</summary>
    [Fact]
    public void Canonical_Settings_FollowTheDeclaration()
    {
        var settings = new XyzSettings { Prompt = "p", Spacing = SigmaSpacing.Karras, Eta = 0.5 };
        Assert.Equal((SigmaSpacing.Karras, 0.0), Kept(_lcm));
        Assert.Equal((null, 0.5), Kept(_straight));

        (SigmaSpacing?, double) Kept(SamplerKind kind)
        {
            var canonical = (settings with { Sampler = kind }).Canonical();
            return (canonical.Spacing, canonical.Eta);
        }
    }

    [Fact]
    public void Json_OfOptions_HoldsTheNameAndIsReadBack()
    {
        var options = new GenerationOptions { Prompt = "p", Sampler = _lcm };
        var json = JsonSerializer.Serialize(options);
        Assert.Contains("\"Sampler\":\"Lcm\"", json);
        Assert.Equal(options, JsonSerializer.Deserialize<GenerationOptions>(json));
    }

    [Fact]
    public void Register_ASecondTime_ReplacesTheFirstInSettingsThatHoldIt()
    {
        var settings = new GenerationOptions { Sampler = _lcm };
        Assert.Same(_lcm, SamplerKind.Register(new("Lcm", static (config, steps, eta) => new StraightSampler(config, steps, eta)) { Title = "Half" }));

        using var sampler = Sampler.Create(Schedule, 3, settings.Sampler);
        Assert.IsType<StraightSampler>(sampler);
        Assert.Equal("Half Karras", new SamplerChoice(_lcm, SigmaSpacing.Karras).ToString());
        Assert.Equal(1, SamplerKind.All.Count(static kind => kind.Name == "Lcm"));
        Assert.Throws<FormatException>(static () => SamplerChoice.Parse("k_lcm"));
    }

    [Fact]
    public void Register_WhatIsTaken_SaysWhoHasItAndWhatToDo()
    {
        Refused("Got a sampler called Euler, expected another name: the library has one of that name. Rename yours.", Lcm with { Name = "Euler" });
        Refused("Got '+' among a sampler's names, expected letters or digits in each", Other with { Name = "+" });
        Refused("Other: got the name 'K-Euler', but 'Euler' already is Euler; expected names of its own.", Other with { OtherNames = ["K-Euler"] });
        Refused("Other: got the name 'Euler Karras', but 'Euler Karras' already is Euler", Other with { Title = "Euler Karras" });
        Refused("lcm: got the name 'lcm', but 'LCM' already is Lcm", Other with { Name = "lcm", Title = "Mine" });
        Refused("Other: Ddim already is what DDIMScheduler means, expected another class or none.", Other with { SchedulerClass = "DDIMScheduler" });
        Refused("Other: Lcm already is what LCMScheduler means", Other with { SchedulerClass = "LCMScheduler" });
        Assert.Equal([_lcm, _straight], SamplerKind.All.Skip(15));
        Assert.Same(_lcm, SamplerKind.Register(Lcm));

        static void Refused(string expected, SamplerDeclaration declaration) =>
            Assert.StartsWith(expected, Assert.Throws<ArgumentException>(() => SamplerKind.Register(declaration)).Message);
    }

    [Fact]
    public void Unregister_ThenAnyUse_SaysThatItIsToBeRegisteredAgain()
    {
        var settings = new XyzSettings { Prompt = "hair", Steps = 2, Sampler = _lcm };
        new XyzGrid(settings, XyzAxis.Seed(1)).Run(new Painter()).Save(_folder.Path);
        var options = JsonSerializer.Serialize(new GenerationOptions { Sampler = _lcm });

        SamplerKind.Unregister(_lcm);

        const string expected = "The sampler Lcm was unregistered. Register it again by SamplerKind.Register, or take one of DpmPlusPlus2M, ";
        Assert.StartsWith(expected, Assert.Throws<InvalidOperationException>(() => Sampler.Create(Schedule, 3, _lcm)).Message);
        Assert.StartsWith($"Sampler: {expected}", Assert.Single(settings.Validate()));
        Assert.StartsWith($"Sampler: {expected}", Assert.Single(new GenerationOptions { Sampler = _lcm }.Validate()));
        const string unknown = "Got the sampler 'Lcm', expected one of DpmPlusPlus2M, ";
        Assert.StartsWith(unknown, Assert.Throws<JsonException>(() => JsonSerializer.Deserialize<GenerationOptions>(options)).Message);
        Assert.Contains(unknown, Assert.Throws<InvalidDataException>(() => XyzIndex.Load(_folder.Path)).Message);
        Assert.EndsWith(
            "One of your own is made known by SamplerKind.Register.",
            Assert.Throws<ArgumentException>(static () => SamplerKind.Named("Lcm")).Message);
        Assert.Throws<FormatException>(static () => SamplerChoice.Parse("LCM"));

        // Again it is the sampler that the settings hold.
        Assert.Same(_lcm, SamplerKind.Register(Lcm));
        Assert.Empty(settings.Validate());
        Assert.Equal(settings with { Seed = 1 }, Assert.Single(XyzIndex.Load(_folder.Path)).Settings);
    }

    private sealed class Painter : IXyzRenderer
    {
        public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken) => new(4, 4, new byte[48]);
    }
}
