using LoraNotebooks.Diffusion;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

[Trait("Category", "Parity")]
public sealed class StableDiffusionPipelineParityTests(ITestOutputHelper output)
{
    private const double LatentsLimit = 1e-4; // relative to the largest value
    private const double ImageLimit = 1e-4; // absolute, of pixels in [0, 1]

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
            Check($"denoise.{entry.Name}.latents", latents, LatentsLimit, Fixtures.RelativeDifference);
            Check($"denoise.{entry.Name}.image", (pipeline.Decode(latents) / 2 + 0.5).clamp(0, 1), ImageLimit, Fixtures.MaxDifference);
            CheckNumbers($"denoise.{entry.Name}.timesteps", sampler.Timesteps);
            CheckNumbers($"denoise.{entry.Name}.sigmas", sampler.Sigmas);
            if (draws != entry.Value.GetProperty("noise_draws").GetInt32())
            {
                faults.Add($"{entry.Name}: {draws} draws of noise, expected {entry.Value.GetProperty("noise_draws")}");
            }

            covered.Add(entry.Name);
        }

        var uncovered = expected.Keys.Where(key => key.StartsWith("denoise.", StringComparison.Ordinal) && key.EndsWith(".latents", StringComparison.Ordinal)).Where(key => !covered.Contains(key.Split('.')[1]));
        Assert.Empty(uncovered);
        Assert.True(faults.Count == 0, string.Join('\n', faults));

        void CheckNumbers(string key, IReadOnlyList<double> actual)
        {
            if (expected.TryGetValue(key, out var numbers))
            {
                Check(key, tensor(actual.ToArray()), LatentsLimit, Fixtures.RelativeDifference);
            }
        }

        void Check(string key, Tensor actual, double limit, Func<Tensor, Tensor, double> measure)
        {
            var difference = measure(expected[key], actual);
            output.WriteLine($"{name} {key}: {difference:e2}");
            if (!(difference <= limit))
            {
                faults.Add($"{name} {key}: difference {difference:e2}, limit {limit:e2}");
            }
        }
    }
}
