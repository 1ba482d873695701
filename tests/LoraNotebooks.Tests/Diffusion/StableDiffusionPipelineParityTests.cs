using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

[Trait("Category", "Parity")]
public sealed class StableDiffusionPipelineParityTests(ParityTable table) : IClassFixture<ParityTable>
{
    /// <summary>Relative to the largest value: what the fixtures suggest, ten times stricter than the cases' own limit.</summary>
    private const double LatentsLimit = 1e-4;

    /// <summary>Absolute, of pixels in [0, 1]; the cases name none.</summary>
    private const double ImageLimit = 1e-4;

    public static TheoryData<string> SingleEncoderCases => [.. Fixtures.Models.Where(name => !Fixtures.IsXL(name))];

    [Theory]
    [MemberData(nameof(SingleEncoderCases))]
    public void Denoise_EverySamplerOfCase_EqualsUpstream(string name)
    {
        using var scope = NewDisposeScope();
        using var pipeline = StableDiffusionPipeline.FromFolder(Fixtures.Case(name));
        var inputs = Fixtures.Tensors(name, "inputs.safetensors");
        var expected = Fixtures.Tensors(name, "expected.safetensors");
        var denoise = Fixtures.Json(name, "case.json").GetProperty("denoise");
        var (steps, guidance) = (denoise.GetProperty("steps").GetInt32(), denoise.GetProperty("guidance_scale").GetDouble());
        var prompt = pipeline.EncodePrompts([denoise.GetProperty("cond").GetString()!]);
        var negative = pipeline.EncodePrompts([denoise.GetProperty("uncond").GetString()!]);
        var faults = new List<string>();
        var covered = new HashSet<string>();
        foreach (var entry in denoise.GetProperty("schedulers").EnumerateObject())
        {
            var config = SchedulerTestConfig.FromJson(entry.Value.GetProperty("config"), entry.Value.GetProperty("class").GetString());
            var eta = entry.Value.GetProperty("step_kwargs").TryGetProperty("eta", out var value) ? value.GetDouble() : 0;
            using var sampler = Sampler.Create(config, steps, eta: eta);
            var draws = 0;
            var latents = pipeline.Denoise(inputs["denoise.initial_noise"], prompt, negative, sampler, guidance, () => inputs["denoise.step_noise"][draws++].alias());
            Check(entry.Name, "latents", latents, LatentsLimit, Fixtures.RelativeDifference);
            Check(entry.Name, "image", (pipeline.Decode(latents) / 2 + 0.5).clamp(0, 1), ImageLimit, Fixtures.MaxDifference);
            CheckNumbers(entry.Name, "timesteps", sampler.Timesteps);
            CheckNumbers(entry.Name, "sigmas", sampler.Sigmas);
            if (draws != entry.Value.GetProperty("noise_draws").GetInt32())
            {
                faults.Add($"{entry.Name}: {draws} draws of noise, expected {entry.Value.GetProperty("noise_draws")}");
            }

            covered.Add(entry.Name);
        }

        var uncovered = expected.Keys.Where(key => key.StartsWith("denoise.", StringComparison.Ordinal) && key.EndsWith(".latents", StringComparison.Ordinal)).Where(key => !covered.Contains(key.Split('.')[1]));
        Assert.Empty(uncovered);
        Assert.True(faults.Count == 0, string.Join('\n', faults));

        void CheckNumbers(string sampler, string quantity, IReadOnlyList<double> actual)
        {
            if (expected.ContainsKey($"denoise.{sampler}.{quantity}"))
            {
                Check(sampler, quantity, tensor(actual.ToArray()), LatentsLimit, Fixtures.RelativeDifference);
            }
        }

        void Check(string sampler, string quantity, Tensor actual, double limit, Func<Tensor, Tensor, double> measure) =>
            table.Check($"{name}, {sampler}", quantity + (measure == Fixtures.RelativeDifference ? ", relative" : ""), measure(expected[$"denoise.{sampler}.{quantity}"], actual), limit);
    }
}
