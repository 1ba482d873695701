using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>SDXL's two text encoders and its whole denoising against diffusers. The cases are not shipped, see <see cref="Fixtures.Models"/>.</summary>
[Trait("Category", "Parity")]
public sealed class SdxlParityTests(ParityTable table) : IClassFixture<ParityTable>
{
    private const double ImageLimit = 1e-4; // absolute, of pixels in [0, 1]; the case names none

    [Fact]
    public void EncodePrompts_EveryCase_GivesUpstreamsIdsStatesAndPooledText()
    {
        foreach (var name in Cases())
        {
            using var scope = NewDisposeScope();
            using var pipeline = StableDiffusionPipeline.FromFolder(Fixtures.Case(name));
            var (inputs, expected) = (Fixtures.Tensors(name, "inputs.safetensors"), Fixtures.Tensors(name, "expected.safetensors"));
            var limit = Limit(name, "text");
            var ids = pipeline.Tokenize(Prompts(name));
            Assert.True(ids[0].equal(inputs["text.input_ids"]).all().item<bool>());
            Assert.True(ids[1].equal(inputs["text.input_ids_2"]).all().item<bool>());

            var encoded = pipeline.EncodePrompts(Prompts(name));
            Check(name, "text.prompt_embeds", expected, encoded.HiddenStates, limit);
            Check(name, "text.pooled_prompt_embeds", expected, encoded.TextEmbeds!, limit);
            using var noGradient = no_grad();
            Check(name, "text.te1_penultimate", expected, pipeline.TextEncoder.HiddenStates(ids[0], clipSkip: 2, finalLayerNorm: false), limit);
            Check(name, "text.te2_penultimate", expected, pipeline.TextEncoder2!.HiddenStates(ids[1], clipSkip: 2, finalLayerNorm: false), limit);
            Check(name, "text.te2_last_hidden_state", expected, pipeline.TextEncoder2!.call(ids[1]), limit);
        }
    }

    [Fact]
    public void Denoise_EverySamplerOfCase_EqualsUpstream()
    {
        foreach (var name in Cases())
        {
            using var scope = NewDisposeScope();
            using var pipeline = StableDiffusionPipeline.FromFolder(Fixtures.Case(name));
            var (inputs, expected) = (Fixtures.Tensors(name, "inputs.safetensors"), Fixtures.Tensors(name, "expected.safetensors"));
            var denoise = Fixtures.Json(name, "case.json").GetProperty("denoise");
            var (steps, guidance) = (denoise.GetProperty("steps").GetInt32(), denoise.GetProperty("guidance_scale").GetDouble());
            var timeIds = inputs["denoise.time_ids"];

            // The case draws its first prompt without a negative one.
            var prompt = pipeline.EncodePrompts([Prompts(name)[0]]) with { TimeIds = timeIds[1..] };
            var negative = prompt.Zeros() with { TimeIds = timeIds[..1] };
            using var sampler = Sampler.Create(pipeline.Scheduler, steps);
            var latents = pipeline.Denoise(inputs["denoise.initial_noise"], prompt, negative, sampler, guidance);
            var key = expected.Keys.Single(key => key.StartsWith("denoise.", StringComparison.Ordinal) && key.EndsWith(".latents", StringComparison.Ordinal));
            table.Check(name, key + ", relative", Fixtures.RelativeDifference(expected[key], latents), Limit(name, "denoise_relative"));
            Check(name, key.Replace(".latents", ".image", StringComparison.Ordinal), expected, (pipeline.Decode(latents) / 2 + 0.5).clamp(0, 1), ImageLimit);
        }
    }

    private static IEnumerable<string> Cases()
    {
        var cases = Fixtures.Models.Where(Fixtures.IsXL).ToList();
        Assert.True(cases.Count > 0 || !Fixtures.IsWhole, "no SDXL case");
        return cases;
    }

    private static string[] Prompts(string name) =>
        [.. Fixtures.Json(name, "case.json").GetProperty("prompts").EnumerateArray().Select(prompt => prompt.GetString()!)];

    private static double Limit(string name, string part) => Fixtures.Json(name, "case.json").GetProperty("tolerance").GetProperty(part).GetDouble();

    private void Check(string name, string key, Dictionary<string, Tensor> expected, Tensor actual, double limit) =>
        table.Check(name, key, Fixtures.MaxDifference(expected[key], actual), limit);
}
