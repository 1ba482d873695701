using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>Every step of every sampler, under every setting that it knows, beside the plain formula of <see cref="SamplerOracle"/>.</summary>
public sealed class SamplerFormulaTests
{
    private const int T = 24;

    private static readonly int[] Numbers = [1, 2, 3, 8];

    private static readonly SamplerKind[] Multistep =
        [SamplerKind.DpmPlusPlus2M, SamplerKind.DpmPlusPlus2MSde, SamplerKind.DpmPlusPlus3MSde, SamplerKind.UniPc];

    private static readonly SchedulerConfig Basis = new()
    {
        NumTrainTimesteps = T,
        TrainedBetas = [.. Enumerable.Range(0, T).Select(static t => 0.004 + 0.01 * t)],
        ClipSample = false,
    };

    public static TheoryData<string> Kinds => [.. SamplerKind.All.Select(static kind => kind.Name)];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Step_EverySpacingPredictionAndEnd_IsTheFormula(string sampler)
    {
        var kind = SamplerKind.Named(sampler);
        var isMultistep = Multistep.Contains(kind);
        foreach (var spacing in Enum.GetValues<TimestepSpacing>())
        {
            foreach (var prediction in Enum.GetValues<PredictionType>())
            {
                var plain = Basis with { TimestepSpacing = spacing, PredictionType = prediction };
                foreach (var levels in kind.Declaration.HasLevels ? Enum.GetValues<SigmaSpacing>() : [SigmaSpacing.Timesteps])
                {
                    foreach (var end in Enum.GetValues<FinalSigma>())
                    {
                        var config = plain.With(levels) with { FinalSigma = end, SetAlphaToOne = end == FinalSigma.Zero, ClipSample = end != FinalSigma.Zero, ClipSampleRange = 0.7 };
                        foreach (var steps in prediction == PredictionType.VPrediction ? Numbers.Append(isMultistep ? T - 1 : T) : Numbers)
                        {
                            AssertFormula(config, kind, steps);
                        }

                        // An offset moves the first timestep up: never beyond the last one.
                        AssertFormula(config with { StepsOffset = 3 }, kind, 1);
                        AssertFormula(config with { StepsOffset = 2 }, kind, 5);
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData(0.0)]
    [InlineData(0.4)]
    [InlineData(1.0)]
    public void Step_DdimOfAnyEta_IsTheFormula(double eta)
    {
        foreach (var alphaToOne in (bool[])[true, false])
        {
            foreach (var clips in (bool[])[true, false])
            {
                var config = Basis with { SetAlphaToOne = alphaToOne, ClipSample = clips, ClipSampleRange = 0.3 };
                Array.ForEach(Numbers, steps => AssertFormula(config, SamplerKind.Ddim, steps, eta));
                AssertFormula(config with { StepsOffset = 1 }, SamplerKind.Ddim, 6, eta);
                AssertFormula(config with { TimestepSpacing = TimestepSpacing.Trailing }, SamplerKind.Ddim, T, eta);
            }
        }
    }

    /// <summary>A schedule whose last timestep is noise alone: σ of it is that of ᾱ = 2⁻²⁴.</summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public void Step_ZeroTerminalSnr_IsTheFormula(string sampler)
    {
        var kind = SamplerKind.Named(sampler);
        foreach (var prediction in (PredictionType[])[PredictionType.VPrediction, PredictionType.Sample])
        {
            var config = Basis with { TrainedBetas = [.. Basis.TrainedBetas!.SkipLast(1), 1], PredictionType = prediction, TimestepSpacing = TimestepSpacing.Trailing };
            Array.ForEach(Numbers, steps => AssertFormula(config, kind, steps));
        }
    }

    /// <summary>The multistep methods' own settings, each with each, around the number of steps that counts as few.</summary>
    [Fact]
    public void Step_EverySettingOfDpmPlusPlus_IsTheFormula()
    {
        foreach (var i in Enumerable.Range(0, 3 * 2 * 2 * 2 * 2 * 2))
        {
            var config = Basis with
            {
                ClassName = "DPMSolverMultistepScheduler",
                SolverOrder = i % 3 + 1,
                SolverType = i / 3 % 2 == 0 ? "midpoint" : "heun",
                AlgorithmType = i / 6 % 2 == 0 ? "dpmsolver++" : "sde-dpmsolver++",
                LowerOrderFinal = i / 12 % 2 == 0,
                EulerAtFinal = i / 24 % 2 == 0,
                FinalSigma = i / 48 % 2 == 0 ? FinalSigma.Zero : FinalSigma.SigmaMin,
            };
            foreach (var steps in (int[])[1, 2, 3, 4, 14, 15])
            {
                AssertFormula(config, null, steps);
                AssertFormula(config.With(SigmaSpacing.Karras) with { PredictionType = PredictionType.VPrediction }, null, steps);
            }
        }
    }

    [Fact]
    public void Step_EverySettingOfUniPc_IsTheFormula()
    {
        foreach (var i in Enumerable.Range(0, 3 * 3 * 2 * 2 * 3))
        {
            var config = Basis with
            {
                SolverOrder = i % 3 + 1,
                SolverType = ((string[])["bh1", "bh2", "midpoint"])[i / 3 % 3],
                LowerOrderFinal = i / 9 % 2 == 0,
                FinalSigma = i / 18 % 2 == 0 ? FinalSigma.Zero : FinalSigma.SigmaMin,
                DisableCorrector = ((int[][])[[], [0], [1, 3]])[i / 36 % 3],
            };
            foreach (var steps in (int[])[1, 2, 3, 4, 7])
            {
                AssertFormula(config, SamplerKind.UniPc, steps);
                AssertFormula(config.With(SigmaSpacing.Exponential), SamplerKind.UniPc, steps);
            }
        }
    }

    /// <summary>The whole timestep below Karras' level is what upstream's DPM++ asks of a model with the cosine schedule; UniPC takes the nearest.</summary>
    [Theory]
    [InlineData(nameof(SamplerKind.DpmPlusPlus2M))]
    [InlineData(nameof(SamplerKind.UniPc))]
    public void Timesteps_KarrasLevelsOfTheCosineSchedule_AreThoseOfTheFormula(string sampler) => Array.ForEach(Numbers, steps =>
        AssertFormula(Basis.With(SigmaSpacing.Karras) with { BetaSchedule = BetaSchedule.SquaredCosCapV2 }, SamplerKind.Named(sampler), steps));

    [Theory]
    [InlineData("DDIMScheduler", "dpmsolver++", 2, nameof(SamplerKind.Ddim))]
    [InlineData("DDPMScheduler", "dpmsolver++", 2, nameof(SamplerKind.Ddpm))]
    [InlineData("EulerDiscreteScheduler", "dpmsolver++", 2, nameof(SamplerKind.Euler))]
    [InlineData("EulerAncestralDiscreteScheduler", "sde-dpmsolver++", 3, nameof(SamplerKind.EulerAncestral))]
    [InlineData("DPMSolverMultistepScheduler", "dpmsolver++", 2, nameof(SamplerKind.DpmPlusPlus2M))]
    [InlineData("DPMSolverMultistepScheduler", "sde-dpmsolver++", 2, nameof(SamplerKind.DpmPlusPlus2MSde))]
    [InlineData("DPMSolverMultistepScheduler", "sde-dpmsolver++", 3, nameof(SamplerKind.DpmPlusPlus3MSde))]
    [InlineData("PNDMScheduler", "dpmsolver++", 3, nameof(SamplerKind.Pndm))]
    [InlineData("HeunDiscreteScheduler", "dpmsolver++", 2, nameof(SamplerKind.Heun))]
    [InlineData("LMSDiscreteScheduler", "dpmsolver++", 2, nameof(SamplerKind.Lms))]
    [InlineData("UniPCMultistepScheduler", "dpmsolver++", 2, nameof(SamplerKind.UniPc))]
    public void Create_ClassOfTheConfiguration_IsTheSamplerOfItsName(string className, string algorithm, int order, string name)
    {
        var kind = SamplerKind.Named(name);
        var config = Basis with { ClassName = className, AlgorithmType = algorithm, SolverOrder = order };

        Assert.Equal(kind, Sampler.KindOf(config));
        Assert.Equal(kind, Sampler.NameFor(config));
        using var sampler = Sampler.Create(config, 4);
        AssertWalk(new SamplerOracle(config, kind, 4), sampler, $"{className}");
    }

    [Theory]
    [InlineData("dpmsolver++", 1)]
    [InlineData("dpmsolver++", 3)]
    [InlineData("sde-dpmsolver++", 1)]
    public void NameFor_SolverThatNoNameStandsFor_IsNone(string algorithm, int order) =>
        Assert.Null(Sampler.NameFor(Basis with { ClassName = "DPMSolverMultistepScheduler", AlgorithmType = algorithm, SolverOrder = order }));

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Create_StepsThatTheScheduleDoesNotHave_AreRefused(string sampler)
    {
        var kind = SamplerKind.Named(sampler);
        Assert.Throws<ArgumentException>(() => Sampler.Create(Basis, 0, kind));
        Assert.Contains($"Got {T + 1} steps", Assert.Throws<ArgumentException>(() => Sampler.Create(Basis, T + 1, kind)).Message);

        // There leading spacing would begin beyond the last timestep.
        Assert.Contains("steps_offset 5", Assert.Throws<ArgumentException>(() => Sampler.Create(Basis with { StepsOffset = 5 }, T - 1, kind)).Message);
        Sampler.Create(Basis with { StepsOffset = 5, TimestepSpacing = TimestepSpacing.Trailing }, T - 1, kind).Dispose();
        var isMultistep = Multistep.Contains(kind);

        // Of 8 steps the first is at 7·3, for multistep methods at 8·2: the last offset that fits is the one up to 23.
        var most = isMultistep ? 7 : 2;
        Sampler.Create(Basis with { StepsOffset = most }, 8, kind).Dispose();
        Assert.Contains("begin at timestep 24", Assert.Throws<ArgumentException>(() => Sampler.Create(Basis with { StepsOffset = most + 1 }, 8, kind)).Message);
        if (isMultistep)
        {
            Assert.Contains($"1 to {T - 1}", Assert.Throws<ArgumentException>(() => Sampler.Create(Basis, T, kind)).Message);
            Assert.Contains(
                $"1 to {T - 1}",
                Assert.Throws<ArgumentException>(() => Sampler.Create(Basis with { TimestepSpacing = TimestepSpacing.Linspace }, T, kind)).Message);
        }
    }

    [Fact]
    public void Linspace_OfAnyNumber_EndsExactlyWhereItIsTold() => Assert.All(Enumerable.Range(2, 200), static n =>
    {
        Assert.Equal((0.3, 999.7, n), (TimestepSequence.Linspace(0.3, 999.7, n)[0], TimestepSequence.Linspace(0.3, 999.7, n)[^1], TimestepSequence.Linspace(0.3, 999.7, n).Length));
    });

    [Fact]
    public void Step_OutsideTheSequence_IsRefused()
    {
        using var scope = NewDisposeScope();
        using var sampler = Sampler.Create(Basis, 3, SamplerKind.Ddim);
        var x = ones(1);
        Assert.Equal("step", Assert.Throws<ArgumentOutOfRangeException>(() => sampler.Step(x, -1, x)).ParamName);
        Assert.Equal("step", Assert.Throws<ArgumentOutOfRangeException>(() => sampler.Step(x, 3, x)).ParamName);
        Assert.Throws<ArgumentOutOfRangeException>(() => Sampler.Create(Basis, 3, SamplerKind.Ddim, eta: -0.1));
    }

    [Fact]
    public void Step_OfATrainedAnswer_RecordsNoGradientAndLeavesTheSample()
    {
        using var scope = NewDisposeScope();
        using var sampler = Sampler.Create(Basis, 3, SamplerKind.Ddim);
        var (x, answer) = (ones(2), ones(2, requires_grad: true));
        Assert.False(sampler.Step(answer, 0, x).requires_grad);
        Assert.NotSame(x, sampler.ScaleModelInput(x, 0));
        sampler.ScaleModelInput(x, 0).fill_(7);
        Assert.Equal([1f, 1f], x.data<float>().ToArray());
    }

    private static void AssertFormula(SchedulerConfig config, SamplerKind? kind, int steps, double eta = 0)
    {
        // A named sampler has its own method, whatever the model's configuration says of DPM++.
        var given = kind is null || kind == SamplerKind.UniPc ? config : config with
        {
            AlgorithmType = kind == SamplerKind.DpmPlusPlus2M ? "sde-dpmsolver++" : "dpmsolver++",
            SolverOrder = kind == SamplerKind.DpmPlusPlus3MSde ? 1 : 3,
        };
        using var sampler = Sampler.Create(given, steps, kind, eta);
        var oracle = new SamplerOracle(config, kind ?? SamplerKind.DpmPlusPlus2M, steps, eta);
        AssertWalk(oracle, sampler, $"{kind}, {steps} steps, η {eta}: {config with { TrainedBetas = null }}", isOwn: kind is null);
    }

    private static void AssertWalk(SamplerOracle oracle, Sampler sampler, string what, bool isOwn = false)
    {
        using var scope = NewDisposeScope();
        Close([.. oracle.Timesteps], sampler.Timesteps, "timesteps");
        Close([.. oracle.Sigmas], sampler.Sigmas, "levels");
        Close([oracle.InitialSigma], [sampler.InitialNoiseSigma], "initial level");
        var draws = 0;
        var taken = new List<double>();
        var x = tensor(new[] { 1.7 });
        for (var step = 0; step < sampler.Timesteps.Count; step++)
        {
            var norm = sampler.Sigmas.Count > 0 && oracle.InitialSigma != 1 ? Math.Sqrt(oracle.Sigmas[step] * oracle.Sigmas[step] + 1) : 1;
            Close([x.item<double>() / norm], [sampler.ScaleModelInput(x, step).item<double>()], $"model input {step}");
            x = sampler.Step(tensor(new[] { SamplerOracle.Answer(step) }), step, x, () => tensor(new[] { SamplerOracle.Noise(draws++) }));
            taken.Add(x.item<double>());
        }

        Close(isOwn ? oracle.WalkOwn(1.7) : oracle.Walk(1.7), taken, "samples");
        Assert.True(oracle.Draws == draws, $"{what}: {draws} draws of noise, expected {oracle.Draws}");
        Assert.True(draws == 0 || sampler.AddsNoise, $"{what}: draws noise and does not say so");

        void Close(IReadOnlyList<double> expected, IReadOnlyList<double> actual, string quantity) => Assert.True(
            expected.Count == actual.Count && expected.Zip(actual).All(static pair => Math.Abs(pair.First - pair.Second) <= 1e-7 * Math.Max(1, Math.Abs(pair.First))),
            $"{quantity} {string.Join(' ', actual)}, expected {string.Join(' ', expected)}: {what}");
    }
}
